import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { stillOpening } from '../../../src/companions/bird/opening.ts';
import { parseIp } from '../../../src/ip/address.ts';

const session = (node: string, address: string, info: string) => ({
  name: `Node_${node}`,
  family: address.includes(':') ? (6 as const) : (4 as const),
  address: parseIp(address),
  node,
  as: 64512,
  reason: 'node-to-node mesh' as const,
  state: info === 'Established' ? 'up' : 'start',
  since: '',
  info,
  imported: 0,
  exported: 0,
});

test('a BIRD that has just started has time until all sessions are established, in both families', () => {
  const up = session('node2', '172.31.77.12', 'Established');
  const refused = session('node2', 'fd00:31:77::12', 'Active Socket: Connection refused');
  const why = 'no BGP session yet with node2, fd00:31:77::12: Active Socket: Connection refused';
  assert.equal(stillOpening({ sessions: [up, refused] }, 3), why);
  assert.equal(stillOpening({ sessions: [up] }, 3), undefined);
  assert.equal(stillOpening({ sessions: [] }, 0), undefined);
});

test('no peer, however dead, has time for ever; an adopted BIRD is old enough at once', () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom('Established', 'Idle', '', 'Connect')), fc.nat(), (infos, age) => {
      const sessions = infos.map((info, i) => session(`node${i}`, `172.31.77.${i}`, info));
      const isOpening = stillOpening({ sessions }, age) !== undefined;
      assert.equal(isOpening, age < 15 && infos.some((info) => info !== 'Established'));
    }),
  );
});
