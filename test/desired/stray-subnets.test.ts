import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readNetwork } from '../../src/cluster/network.ts';
import { subnetsOutsideNetwork } from '../../src/desired/stray-subnets.ts';
import { parseCidr } from '../../src/ip/cidr.ts';
import { problemText } from '../../src/problem.ts';

test('a subnet that the network no longer contains is named', () => {
  const subnets = [parseCidr('10.0.3.0/24'), parseCidr('fd00:0:0:3::/64')];
  const said = (conf: object): string[] =>
    subnetsOutsideNetwork(readNetwork(conf), { subnets }).map(problemText);
  const dual = { EnableIPv6: true, IPv6Network: 'fd00::/48' };
  assert.deepEqual(said({ Network: '10.0.0.0/16', ...dual }), []);
  const [moved, ...rest] = said({ Network: '10.99.0.0/16', ...dual });
  assert.match(
    moved ?? '',
    /^this node’s subnet 10\.0\.3\.0\/24 is not part of the network 10\.99\.0\.0\/16: /,
  );
  assert.deepEqual(rest, []);
  assert.match(
    said({ Network: '10.0.0.0/16' }).join(),
    /fd00:0:0:3::\/64 is not part of a network without IPv6/,
  );
  const blocks = { addresses: 'blocks', wiring: 'routed', Backend: { Type: 'bgp' } };
  assert.deepEqual(said({ Network: '10.99.0.0/16', ...blocks }), []);
});
