import assert from 'node:assert/strict';
import { test } from 'node:test';
import { refuseSharedPort } from '../../src/backends/succession.ts';
import { readNetwork } from '../../src/cluster/network.ts';

const network = (Backend: object) => readNetwork({ Network: '10.244.0.0/16', Backend });

test('two backends never share a UDP port', () => {
  const vxlan = network({ Type: 'vxlan' });
  assert.throws(() => refuseSharedPort(vxlan, network({ Type: 'vxlan-md', Port: 8472 })), {
    code: 'CONFIG_INVALID',
    message:
      /^Backend\.Port: 8472 is the port of vxlan, which nodes still use during the change; choose another/,
  });
  assert.throws(() => refuseSharedPort(network({ Type: 'geneve' }), network({ Type: 'udp', Port: 6081 })));
  for (const next of [
    { Type: 'vxlan-md' },
    { Type: 'vxlan', VNI: 7 },
    { Type: 'host-gw' },
    { Type: 'udp' },
    { Type: 'gre' },
  ])
    refuseSharedPort(vxlan, network(next));
});
