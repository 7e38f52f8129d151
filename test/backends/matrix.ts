import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isPhysical } from '../../src/cluster/wiring.ts';
import { NO_KERNEL } from '../state/namespace.ts';
import { FAMILIES, type Plan } from './cluster.ts';
import { Testbed } from './testbed.ts';

/** What a combination is made of, besides the backend's own options. */
export type Variant = Pick<Plan, 'families' | 'networks'> & {
  readonly wiring: NonNullable<Plan['wiring']>;
  /** Plain routes to peers on the same network (`DirectRouting`, `crossSubnet`). */
  readonly direct: boolean;
};

const WIRINGS = ['bridge', 'routed'] as const;
const SIZE = 3;
/** Milliseconds, on a machine that is not emulated. */
const HEALED_WITHIN = 1000;

export const VARIANTS: readonly Variant[] = WIRINGS.flatMap((wiring) =>
  FAMILIES.flatMap((families) =>
    [1, 2].flatMap((networks) => [false, true].map((direct) => ({ wiring, families, networks, direct }))),
  ),
);

/** Where pods are on the nodes' own network. */
export const PHYSICAL_VARIANTS: readonly Variant[] = FAMILIES.map((families) => ({
  wiring: 'macvlan',
  families,
  networks: 1,
  direct: false,
}));

/**
 * In which every value of each feature occurs, but for a family alone: for emulated machines, which take a
 * minute for one.
 */
export const FEW_VARIANTS: readonly [Variant, Variant] = [
  { wiring: 'bridge', families: [4, 6], networks: 2, direct: true },
  { wiring: 'routed', families: [4, 6], networks: 1, direct: false },
];

export type Matrix = {
  readonly backend: Plan['backend'];
  readonly variants: readonly Variant[];
  /**
   * What each damage does to node 0, as arguments of `ip`; `DEV` stands for each of the backend's devices.
   */
  readonly damages: readonly string[];
};

/**
 * In every combination all pods reach each other under their own addresses, and by a shim nodes their pods;
 * packets of exactly the MTU pass unfragmented and larger ones do not, the kernel holds what the pure
 * functions say, and nothing stays behind. In the last one, every damage is repaired.
 */
export function testMatrix({ backend, variants, damages }: Matrix): void {
  const options = Object.entries(backend).flatMap(([key, value]) =>
    key === 'Type' ? [] : [`${key} ${value}`],
  );
  test([backend.Type, ...options].join(', '), { skip: NO_KERNEL, timeout: 1_200_000 }, async (t) => {
    for (const variant of variants) {
      const last = variant === variants.at(-1);
      await t.test(nameOf(variant), async (t) => {
        using bed = new Testbed(planOf(backend, variant));
        t.diagnostic(`up in ${Math.round(await bed.up())} ms`);
        assert.deepEqual(await bed.leftToDo(), []);
        checkReachability(bed);
        if (last) for (const damage of damages) await checkHealing(bed, damage, (text) => t.diagnostic(text));
        await bed.down();
        assertNothingLeft(bed);
      });
    }
  });
}

function planOf(backend: Plan['backend'], { direct, ...variant }: Variant): Plan {
  return { size: SIZE, ...variant, backend: { ...backend, ...(direct && { DirectRouting: true }) } };
}

function nameOf({ wiring, families, networks, direct }: Variant): string {
  const family = families.length > 1 ? 'dual stack' : `IPv${families[0]}`;
  return `${wiring}, ${family}, ${networks} network${networks > 1 ? 's' : ''}${direct ? ', direct routes' : ''}`;
}

function checkReachability(bed: Testbed): void {
  const { families } = bed.plan;
  const nodes = Array.from({ length: SIZE }, (_, i) => i);
  for (const family of families) {
    for (const from of nodes) {
      for (const to of nodes) {
        if (from !== to) assert.ok(bed.ping(from, to, family), `IPv${family}, pod ${from} to pod ${to}`);
      }
    }
    for (const to of [1, 2]) {
      assert.ok(bed.ping(0, to, family, bed.mtu), `IPv${family}, ${bed.mtu} bytes to pod ${to}`);
      assert.ok(bed.isTooBig(0, to, family, bed.mtu + 1), `IPv${family}, ${bed.mtu + 1} bytes to pod ${to}`);
    }
    for (const i of nodes) {
      const others = nodes.filter((each) => each !== i).map((each) => bed.addressOf(each, family));
      assert.deepEqual(bed.sourcesSeen(i, family), new Set(others), `IPv${family}, seen by pod ${i}`);
      assert.ok(!hasShim(bed) || bed.nodePings(i, family), `IPv${family}, node ${i} to its pod`);
    }
  }
}

async function checkHealing(bed: Testbed, damage: string, say: (text: string) => void): Promise<void> {
  const devices = bed
    .itemsOf(0)
    .flatMap((item) => (item.kind === 'link' && item.name.startsWith('fl') ? [item.name] : []));
  const commands = damage.includes('DEV')
    ? [...new Set(devices)].map((dev) => damage.replaceAll('DEV', dev))
    : [damage];
  for (const command of commands) {
    bed.run('node0', ...command.split(' '));
    const took = await bed.settled();
    say(`${command}: ${Math.round(took)} ms`);
    if (!process.env.FLATNET_EMULATED) assert.ok(took < HEALED_WITHIN, `${command}: healed after ${took} ms`);
    for (const family of bed.plan.families) {
      for (const to of [1, 2]) assert.ok(bed.ping(0, to, family), `${command}: IPv${family} to pod ${to}`);
      assert.ok(!hasShim(bed) || bed.nodePings(0, family), `${command}: IPv${family}, node to its pod`);
    }
  }
}

/** Whether a node reaches its pods by other means than others do. */
function hasShim({ plan: { wiring } }: Testbed): boolean {
  return wiring !== undefined && isPhysical(wiring);
}

function assertNothingLeft(bed: Testbed): void {
  const found = [
    ...bed.run('node0', 'ip', '-o', 'link').matchAll(/^\d+: (fl\S+|cni0)/gm),
    ...['-4', '-6'].flatMap((family) =>
      ['110', '111'].flatMap((protocol) => [
        ...bed.run('node0', 'ip', family, 'route', 'show', 'table', 'all', 'proto', protocol).matchAll(/.+/g),
      ]),
    ),
    ...bed.run('node0', 'nft', 'list', 'tables').matchAll(/.*flatnet.*/g),
  ];
  assert.deepEqual(
    found.map(([text]) => text),
    [],
  );
}
