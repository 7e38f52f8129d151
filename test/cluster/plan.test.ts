import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BACKENDS } from '../../src/backends/registry.ts';
import { readNetwork } from '../../src/cluster/network.ts';
import { WIRING_NAMES } from '../../src/cluster/wiring.ts';
import { codeOf } from '../../src/error.ts';

/** All lawful combinations; whatever else is configured is refused. */
const ANYWHERE = [
  'vxlan',
  'vxlan-md',
  'geneve',
  'gre',
  'ipip',
  'udp',
  'host-gw',
  'alloc',
  'extension',
  'aws-vpc',
  'gce',
];
const LAWFUL = [
  ...ANYWHERE.map((type) => `bridge lease ${type}`),
  ...ANYWHERE.map((type) => `routed lease ${type}`),
  'routed lease bgp',
  'routed blocks bgp',
  ...['macvlan', 'ipvlan'].flatMap((wiring) => [`${wiring} lease alloc`, `${wiring} dhcp alloc`]),
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
    ['lease', 'blocks', 'dhcp'].flatMap((addresses) =>
      BACKENDS.map(({ type }) => type)
        .filter((type) => isAccepted(wiring, addresses, type))
        .map((type) => `${wiring} ${addresses} ${type}`),
    ),
  );
  assert.deepEqual(
    new Set(accepted),
    new Set(LAWFUL),
    'src/cluster/plan.ts lists what is lawful, for new ones too',
  );
});
