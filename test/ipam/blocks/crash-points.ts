import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FlatnetError } from '../../../src/error.ts';
import { parseIp } from '../../../src/ip/address.ts';
import { BlockAssigner, type BlockAssignerOptions } from '../../../src/ipam/blocks/block-assigner.ts';
import { findings } from '../../../src/ipam/blocks/check.ts';
import { removeNode } from '../../../src/ipam/blocks/forget-node.ts';
import { repairIpam } from '../../../src/ipam/blocks/repair.ts';
import { BlockUpkeep } from '../../../src/ipam/blocks/upkeep.ts';
import type { BlockStore, Snapshot } from '../../../src/store/ports/blocks.ts';
import { assertAdvertised, pool } from './plan.ts';
import { hooked, StepHooks } from './steps.ts';

/** Findings that an interrupted operation may leave behind. */
const UNFINISHED = ['AFFINITY_STALE', 'CLAIM_PENDING', 'HANDLE_WITHOUT_ALLOCATION'];
const HANDLES = ['a', 'b', 'c', 'd', 'e'];
const SMALL = [pool('p', '10.1.0.0/28', 30), pool('q', 'fd00::/124', 126)];
const LARGE = [pool('p', '10.1.0.0/28', 29), pool('q', 'fd00::/124', 125)];

/** Several nodes on one store, with a manual clock. */
class Plan {
  readonly store: BlockStore;
  clock = 1_700_000_000_000;

  constructor(store: BlockStore) {
    this.store = store;
  }

  node(name: string, pools = SMALL): Node {
    return new Node(this, name, pools);
  }

  async check(): Promise<Snapshot> {
    const snapshot = await this.store.snapshot();
    const errors = findings(snapshot).filter(({ severity }) => severity === 'error');
    assert.deepEqual(errors, []);
    assertAdvertised(snapshot);
    return snapshot;
  }

  async warnings(): Promise<string[]> {
    return findings(await this.check()).map(({ code, text, object }) => `${code} ${object} ${text}`);
  }
}

class Node {
  readonly assigner: BlockAssigner;
  readonly upkeep: BlockUpkeep;
  readonly steps = new StepHooks();
  readonly #plan: Plan;

  constructor(plan: Plan, node: string, ipPools: typeof SMALL) {
    const options: BlockAssignerOptions = {
      store: hooked(plan.store, this.steps),
      node,
      nodeLabels: () => ({}),
      resources: () => ({ ipPools, ipReservations: [] }),
      clock: () => plan.clock,
    };
    this.#plan = plan;
    this.assigner = new BlockAssigner(options);
    this.upkeep = new BlockUpkeep(this.assigner, options);
  }

  async assign(handle: string, ...families: (4 | 6)[]): Promise<void> {
    const got = await this.assigner.assign({ handle, families, attributes: {} });
    assert.equal(got.length, families.length);
  }

  /** Runs an agent's upkeep over some time. `live`: the handles of live pods. */
  async keepUp(live: readonly string[] = HANDLES): Promise<void> {
    const isLive = async (handle: string): Promise<boolean> => live.includes(handle);
    for (let look = 0; look < 3; look++) {
      this.#plan.clock += 120_000;
      await this.upkeep.releaseEmptyBlocks();
      await this.upkeep.collectGarbage({ live: new Set(live), isLive }, 60, true);
    }
  }
}

type Scenario = {
  readonly name: string;
  readonly before?: (plan: Plan, node: Node) => Promise<void>;
  /** Can be repeated after an interruption. */
  readonly act: (node: Node) => Promise<unknown>;
};

const SCENARIOS: readonly Scenario[] = [
  { name: 'a new block for each family', act: (node) => node.assign('a', 4, 6) },
  {
    name: 'addresses from own blocks',
    before: (_, node) => node.assign('a', 4, 6),
    act: (node) => node.assign('b', 4, 6),
  },
  {
    name: 'a requested address whose block is claimed',
    act: ({ assigner }) =>
      assigner.assign({ handle: 'a', families: [4], attributes: {}, requested: [parseIp('10.1.0.9')] }),
  },
  {
    name: 'a block taken over from a node that left it empty',
    before: async (plan) => {
      const other = plan.node('node2');
      for (let i = 0; i < 16; i++) await other.assign(`other${i}`, 4);
      for (let i = 0; i < 16; i++) await other.assigner.release(`other${i}`);
      plan.clock += 120_000;
    },
    act: (node) => node.assign('a', 4),
  },
  {
    name: 'a borrowed address',
    before: async (plan) => {
      const other = plan.node('node2');
      for (let i = 0; i < 15; i++) await other.assign(`other${i}`, 4);
    },
    act: (node) => node.assign('a', 4),
  },
  {
    name: 'a release',
    before: (_, node) => node.assign('a', 4, 6),
    act: ({ assigner }) => assigner.release('a'),
  },
  {
    name: 'an empty block released',
    before: async (_, node) => {
      for (const handle of HANDLES) await node.assign(handle, 4);
      await node.assigner.release('e');
    },
    act: (node) => node.keepUp(),
  },
  {
    name: 'garbage collected',
    before: (_, node) => node.assign('a', 4, 6),
    act: (node) => node.keepUp([]),
  },
  {
    name: 'no free address in the second family: the first is released',
    before: async (plan) => {
      const other = plan.node('node2');
      for (let i = 0; i < 16; i++) await other.assign(`other${i}`, 6);
    },
    act: (node) => assert.rejects(node.assign('a', 4, 6), { code: 'OUT_OF_ADDRESSES' }),
  },
];

/**
 * Kills a node between any two steps of every operation and verifies that the plan stays safe and recovers.
 */
export function crashPoints(title: string, open: () => Promise<BlockStore>): void {
  describe(title, () => {
    for (const scenario of SCENARIOS) {
      test(scenario.name, async () => {
        let deaths = 0;
        for (let deadly = 1; ; deadly++) {
          for (const afterwards of AFTERWARDS) {
            const plan = new Plan(await open());
            const died = await dieAt(plan, scenario, deadly);
            if (!died && deadly > 1) {
              assert.ok(deaths > 0);
              return;
            }
            deaths++;
            for (const { code } of findings(await plan.check())) assert.ok(UNFINISHED.includes(code), code);
            await afterwards(plan, scenario);
            await plan.check();
          }
        }
      });
    }
  });
}

/** Runs the scenario, killing the node before step number `deadly`. Returns whether that step was reached. */
async function dieAt(plan: Plan, { before, act }: Scenario, deadly: number): Promise<boolean> {
  const node = plan.node('node1');
  await before?.(plan, node);
  let steps = 0;
  node.steps.before = () => {
    if (++steps >= deadly) throw new FlatnetError('killed', { code: 'STORE_UNAVAILABLE' });
  };
  try {
    await act(node);
  } catch (error) {
    if (!(error instanceof Error) || !error.message.includes('killed')) {
      // The scenario's expected errors do not apply to a killed node.
      if (steps < deadly) throw error;
    }
  }
  return steps >= deadly;
}

const AFTERWARDS: readonly ((plan: Plan, scenario: Scenario) => Promise<void>)[] = [
  // It restarts and continues.
  async (plan, { act }) => {
    const node = plan.node('node1');
    await act(node);
    await plan.check();
    for (const handle of HANDLES) await node.assigner.release(handle);
    await node.keepUp([]);
    const other = plan.node('node2');
    await other.keepUp([]);
    assert.deepEqual(await plan.warnings(), []);
  },
  // It restarts and only runs its upkeep.
  async (plan) => {
    const node = plan.node('node1');
    await node.keepUp();
    const left = (await plan.warnings()).filter((text) => !text.startsWith('HANDLE_WITHOUT_ALLOCATION'));
    assert.deepEqual(left, []);
  },
  // It never returns; others continue on a recreated pool, and the node is forgotten.
  async (plan) => {
    const other = plan.node('node3', LARGE);
    for (let i = 0; i < 16; i++) await other.assign(`new${i}`, 4).catch(full);
    await plan.check();
    for (let i = 0; i < 16; i++) await other.assigner.release(`new${i}`);
    for (let round = 0; round < 2; round++) {
      for (const name of ['node1', 'node2', 'node3']) await removeNode(plan.store, name);
    }
    const { blocks, affinities, handles } = await plan.store.snapshot();
    assert.deepEqual([blocks.length, affinities.length, handles.size], [0, 0, 0]);
  },
  // An operator repairs what it left behind.
  async (plan) => {
    await repairIpam(plan.store, 0);
    assert.deepEqual(await plan.warnings(), []);
    assert.deepEqual(await repairIpam(plan.store, 0), []);
  },
];

function full(error: unknown): void {
  if (!(error instanceof FlatnetError) || error.code !== 'OUT_OF_ADDRESSES') throw error;
}
