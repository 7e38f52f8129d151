import { Queue } from '../../async/queue.ts';
import type { Ip } from '../../ip/address.ts';
import type { Cidr } from '../../ip/cidr.ts';
import type { Assigned, Assigner, AssignRequest } from '../assigner.ts';
import { Assignment } from './assignment.ts';
import type { Leak } from './leak.ts';
import { type BlockAssignerOptions, bySequence, NodeBlocks } from './node-blocks.ts';
import { type Holding, OwnBlocks } from './own-blocks.ts';
import { poolName } from './pools.ts';

export type { BlockAssignerOptions } from './node-blocks.ts';

/**
 * Addresses out of blocks that this node claims in the store. An address is the handle's once its block says
 * so, which is one write. In this node's own blocks, whatever a handle has is found by looking; what it
 * borrows of other nodes' blocks it names first, in the store: so it is found as well, and a crash between
 * leaves it naming too much, which its release sets right. When an answer was lost (STORE_UNAVAILABLE), the
 * handle may hold addresses: ask again for the same ones, or release it.
 */
export class BlockAssigner implements Assigner {
  readonly #node: NodeBlocks;
  /** Pods of one node that start together would only race for the same block. */
  readonly #turns = new Queue();

  constructor(options: BlockAssignerOptions) {
    this.#node = new NodeBlocks(options);
  }

  async assign(request: AssignRequest, signal?: AbortSignal): Promise<readonly Assigned[]> {
    const assignment = new Assignment(this.#node, request);
    const holdings = await this.#turns.run(() => assignment.run(signal), signal);
    return holdings.map((holding) => this.#assigned(holding));
  }

  release(handle: string, signal?: AbortSignal): Promise<readonly Ip[]> {
    return this.#turns.run(() => this.#node.release(handle), signal);
  }

  /**
   * Frees what the handle has by these very allocations, unless it turns out to be alive. That is asked while
   * no assignment is under way: a handle that is made live before its addresses are asked for never gets one
   * that goes right after.
   */
  releaseLeak(
    { handle, addresses }: Leak,
    isLive: (handle: string) => Promise<boolean>,
  ): Promise<readonly Ip[]> {
    const blocks = addresses.map(({ block }) => block);
    const what = { handle, blocks, which: bySequence(addresses) };
    return this.#turns.run(async () => ((await isLive(handle)) ? [] : this.#node.free(what)));
  }

  async held(handle: string): Promise<readonly Assigned[]> {
    const { store, name } = this.#node;
    // Beside the turns of others, whose readings stay theirs.
    const { held } = await this.#node.look(handle, new OwnBlocks(store, name));
    return held.map((holding) => this.#assigned(holding));
  }

  /** The blocks whose addresses this node answers for. */
  async ownBlocks(): Promise<readonly Cidr[]> {
    const { blocks } = await this.exclusively((own) => own.read());
    return blocks.map(({ value }) => value.cidr);
  }

  /** Runs `work` while nothing is assigned or released. */
  exclusively<T>(work: (own: OwnBlocks) => Promise<T>): Promise<T> {
    return this.#turns.run(() => work(this.#node.own));
  }

  #assigned({ ip, block }: Holding): Assigned {
    const pool = poolName(this.#node.pools, block.cidr);
    return { ip, block: block.cidr, pool, borrowed: block.node !== this.#node.name };
  }
}
