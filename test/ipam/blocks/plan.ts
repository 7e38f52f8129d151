import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import type { IpPool, IpReservation } from '../../../src/cluster/resources.ts';
import { parseCidr } from '../../../src/ip/cidr.ts';
import { BlockAssigner, type BlockAssignerOptions } from '../../../src/ipam/blocks/block-assigner.ts';
import { type Finding, findings } from '../../../src/ipam/blocks/check.ts';
import { BlockUpkeep } from '../../../src/ipam/blocks/upkeep.ts';
import { EtcdBlocks } from '../../../src/store/etcd/blocks.ts';
import { EtcdKv } from '../../../src/store/kv/client.ts';
import {
  type BlockStore,
  DEFAULT_IPAM_CONFIG,
  type IpamConfig,
  type Snapshot,
} from '../../../src/store/ports/blocks.ts';
import { startEmbedded } from '../../store/servers.ts';
import { hooked, StepHooks } from './steps.ts';

export const PREFIX = '/test';

/** A pool with defaults for omitted fields. */
export function pool(name: string, cidr: string, blockSize: number, more: Partial<IpPool> = {}): IpPool {
  return {
    name,
    cidr: parseCidr(cidr),
    blockSize,
    ipipMode: 'Never',
    natOutgoing: true,
    disabled: false,
    disableBgpExport: false,
    nodeSelector: 'all()',
    assignmentMode: 'Automatic',
    ...more,
  };
}

export type TestNode = {
  readonly assigner: BlockAssigner;
  readonly upkeep: BlockUpkeep;
  /** Called around each change the node makes in the store. */
  readonly steps: StepHooks;
  /** The requests the node has made so far, by name. */
  readonly requests: string[];
};

/** A `blocks` plan in a store of its own, with a manual clock. */
export class TestPlan {
  readonly store: BlockStore;
  readonly endpoint: string;
  pools: readonly IpPool[];
  reservations: readonly IpReservation[] = [];
  /** Milliseconds. */
  clock = 1_700_000_000_000;
  readonly #clients: EtcdKv[] = [];

  private constructor(endpoint: string, pools: readonly IpPool[]) {
    this.endpoint = endpoint;
    this.pools = pools;
    this.store = this.#connect();
  }

  /** Ends with the test, after checking the store's objects for consistency. */
  static async start(t: TestContext, ...pools: readonly IpPool[]): Promise<TestPlan> {
    const server = await startEmbedded();
    const plan = new TestPlan(server.endpoint, pools);
    t.after(async () => {
      try {
        assert.deepEqual(await plan.findings(), []);
      } finally {
        for (const kv of plan.#clients) kv.close();
        await server.stop();
      }
    });
    return plan;
  }

  node(name: string, options: Partial<BlockAssignerOptions> = {}): TestNode {
    const steps = new StepHooks();
    const requests: string[] = [];
    const all: BlockAssignerOptions = {
      store: hooked(this.#connect(), steps, (request) => void requests.push(request)),
      node: name,
      nodeLabels: () => ({}),
      resources: () => ({ ipPools: this.pools, ipReservations: this.reservations }),
      clock: () => this.clock,
      ...options,
    };
    const assigner = new BlockAssigner(all);
    return { assigner, upkeep: new BlockUpkeep(assigner, all), steps, requests };
  }

  async configure(config: Partial<IpamConfig>): Promise<void> {
    await this.store.configure({ ...DEFAULT_IPAM_CONFIG, ...config });
  }

  /** Moves the clock. */
  wait(seconds: number): void {
    this.clock += seconds * 1000;
  }

  /** Returns the checker's current findings; warnings only if requested. */
  async findings(warnings = false): Promise<readonly Finding[]> {
    const found = findings(await this.store.snapshot(), { pools: this.pools });
    return warnings ? found : found.filter(({ severity }) => severity === 'error');
  }

  #connect(): BlockStore {
    const kv = new EtcdKv({ endpoints: [this.endpoint] });
    this.#clients.push(kv);
    return new EtcdBlocks(kv, PREFIX);
  }
}

/**
 * Asserts that at most one node advertises each block, and that a node with pods in its own block advertises
 * it.
 */
export function assertAdvertised({ blocks, affinities }: Snapshot): void {
  for (const { value: block } of blocks) {
    const nodes = affinities
      .filter(({ value }) => value.cidr === block.cidr && value.state === 'confirmed')
      .map(({ value }) => value.node);
    assert.ok(nodes.length <= 1, `${block.cidr} is advertised by ${nodes}`);
    const isUsed = [...block.allocations.values()].some(({ node }) => node === block.node);
    if (isUsed) assert.deepEqual(nodes, [block.node], `pods of ${block.node} need ${block.cidr}`);
  }
}
