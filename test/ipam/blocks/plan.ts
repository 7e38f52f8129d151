import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import type { IpPool, IpReservation } from '../../../src/cluster/resources.ts';
import { parseCidr } from '../../../src/ip/cidr.ts';
import { BlockAssigner, type BlockAssignerOptions } from '../../../src/ipam/blocks/block-assigner.ts';
import { checkIpam, type Finding } from '../../../src/ipam/blocks/check.ts';
import { BlockUpkeep } from '../../../src/ipam/blocks/upkeep.ts';
import { DEFAULT_CONFIG, encodeConfig, type IpamConfig } from '../../../src/store/etcd/block-codec.ts';
import { IpamKeys } from '../../../src/store/etcd/block-keys.ts';
import { EtcdKv } from '../../../src/store/kv/client.ts';
import type { Transaction, TransactionResult } from '../../../src/store/kv/kv.ts';
import { startEmbedded } from '../../store/servers.ts';

export const PREFIX = '/test';

/** A pool with defaults for what is not said. */
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

/** A client to whose next transactions something happens. */
export class EventfulKv extends EtcdKv {
  /** Runs before each transaction that changes something. */
  before: (transaction: Transaction) => Promise<void> | void = () => {};
  after: (transaction: Transaction) => Promise<void> | void = () => {};

  override async txn(transaction: Transaction): Promise<TransactionResult> {
    const changes = transaction.success.some(({ op }) => op !== 'get');
    if (changes) await this.before(transaction);
    const result = await super.txn(transaction);
    if (changes) await this.after(transaction);
    return result;
  }
}

export type TestNode = {
  readonly assigner: BlockAssigner;
  readonly upkeep: BlockUpkeep;
  readonly kv: EventfulKv;
};

/** A store of its own with a blocks plan in it; its clock stands still unless moved. */
export class TestPlan {
  readonly keys = new IpamKeys(PREFIX);
  readonly kv: EtcdKv;
  pools: readonly IpPool[];
  reservations: readonly IpReservation[] = [];
  /** Milliseconds. */
  clock = 1_700_000_000_000;
  readonly #clients: EventfulKv[] = [];
  readonly endpoint: string;

  private constructor(endpoint: string, pools: readonly IpPool[]) {
    this.endpoint = endpoint;
    this.pools = pools;
    this.kv = this.#client();
  }

  /** Ends with the test, and then holds the store's keys against each other. */
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
    const kv = this.#client();
    const all: BlockAssignerOptions = {
      kv,
      keys: this.keys,
      node: name,
      nodeLabels: () => ({}),
      resources: () => ({ ipPools: this.pools, ipReservations: this.reservations }),
      clock: () => this.clock,
      ...options,
    };
    const assigner = new BlockAssigner(all);
    return { assigner, upkeep: new BlockUpkeep(assigner, all), kv };
  }

  async configure(config: Partial<IpamConfig>): Promise<void> {
    await this.kv.put(this.keys.config, encodeConfig({ ...DEFAULT_CONFIG, ...config }));
  }

  /** Moves the clock. */
  wait(seconds: number): void {
    this.clock += seconds * 1000;
  }

  /** What the checker says; warnings only when asked for. */
  async findings(warnings = false): Promise<readonly Finding[]> {
    const { findings } = await checkIpam(this.kv, this.keys, { pools: this.pools });
    return warnings ? findings : findings.filter(({ severity }) => severity === 'error');
  }

  #client(): EventfulKv {
    const kv = new EventfulKv({ endpoints: [this.endpoint] });
    this.#clients.push(kv);
    return kv;
  }
}
