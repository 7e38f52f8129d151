import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BACKENDS } from '../../src/backends/registry.ts';
import { readNetwork } from '../../src/cluster/network.ts';
import { WIRING_NAMES } from '../../src/cluster/wiring.ts';
import { codeOf } from '../../src/error.ts';

/** All lawful combinations; whatever else is configured is refused. */
const LAWFUL = [
  'bridge lease vxlan',
  'bridge lease host-gw',
  'routed lease vxlan',
  'routed lease host-gw',
  'routed lease bgp',
  'routed blocks bgp',
];

function isAccepted(wiring: string, addresses: string, type: string): boolean {
  try {
    readNetwork({ Network: '10.244.0.0/16', wiring, addresses, Backend: { Type: type } });
    return true;
  } catch (error) {
    if (codeOf(error) === 'CONFIG_INVALID') return false;
    throw error;
  }
}

test('of all wirings, address plans and backends there are, the lawful combinations are accepted', () => {
  const accepted = WIRING_NAMES.flatMap((wiring) =>
    ['lease', 'blocks'].flatMap((addresses) =>
      BACKENDS.map(({ type }) => type)
        .filter((type) => isAccepted(wiring, addresses, type))
        .map((type) => `${wiring} ${addresses} ${type}`),
    ),
  );
  assert.deepEqual(accepted, LAWFUL, 'src/cluster/plan.ts lists what is lawful, for new ones too');
});
