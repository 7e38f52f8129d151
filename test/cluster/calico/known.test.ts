import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decode } from '../../../src/cluster/calico/decode.ts';
import { readDocument } from '../../../src/cluster/calico/document.ts';
import { knownPart } from '../../../src/cluster/calico/known.ts';

const document = (kind: string, spec: object) =>
  readDocument({ apiVersion: 'projectcalico.org/v3', kind, metadata: { name: 'default' }, spec });

test('what would be ignored is left out, and nothing else', () => {
  const pool = { cidr: '10.0.0.0/16', ipipMode: 'Never' };
  const odd = document('IPPool', { ...pool, quantum: { entangled: true } });
  assert.throws(() => decode(odd), /spec\.quantum/);
  assert.deepEqual(knownPart(odd), document('IPPool', pool));

  const good = [{ name: 'a', value: '65000:1' }];
  const bgp = document('BGPConfiguration', {
    asNumber: 64600,
    communities: [...good, { name: 'b', value: 'nonsense' }],
    serviceClusterIPs: [{ cidr: '10.96.0.0/12' }, { cidr: '10.97.0.0/12', weight: 7 }],
  });
  assert.throws(() => decode(bgp), /communities\[1\]/);
  const known = knownPart(bgp);
  assert.deepEqual(known.spec, {
    asNumber: 64600,
    communities: good,
    serviceClusterIPs: [{ cidr: '10.96.0.0/12' }],
  });
  decode(known);
});

test('what is wrong otherwise is an error', () => {
  assert.throws(() => knownPart(document('IPPool', { cidr: 'nonsense' })), /spec\.cidr/);
});
