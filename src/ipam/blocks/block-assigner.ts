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
 * Assigns addresses from blocks that this node claims in the store. An address belongs to a handle as soon as
 * its block records that, which is a single write. A handle's addresses in this node's own blocks are found
 * by searching them. Addresses borrowed from other nodes' blocks are listed in the handle before they are
 * allocated, so they can be found too; a crash in between leaves a handle that lists too much, which its
 * release corrects. If a reply was lost (STORE_UNAVAILABLE), the handle may hold addresses: retry or release.
 */
export class BlockAssigner implements Assigner {
  readonly #node: NodeBlocks;
  /** Serializes pods starting together on one node, which would only race for the same block. */
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
   * Frees exactly these allocations, unless the handle turns out to be live. `isLive` is called while no
   * assignment is in progress, so a handle registered as live before it requests addresses never loses one
   * just after getting it.
   */
  releaseLeak(
    { handle, addresses }: Leak,
    isLive: (handle: string) => Promise<boolean>,
  ): Promise<readonly Ip[]> {
    const blocks = addresses.map(({ block }) => block);
    const request = { handle, blocks, filter: bySequence(addresses) };
    return this.#turns.run(async () => ((await isLive(handle)) ? [] : this.#node.free(request)));
  }

  async held(handle: string): Promise<readonly Assigned[]> {
    const { store, name } = this.#node;
    // Runs outside the queue, so it uses a cache of its own.
    const { held } = await this.#node.inspect(handle, new OwnBlocks(store, name));
    return held.map((holding) => this.#assigned(holding));
  }

  /** Returns this node's confirmed blocks. */
  async ownBlocks(): Promise<readonly Cidr[]> {
    const { blocks } = await this.exclusively((own) => own.read());
    return blocks.map(({ value }) => value.cidr);
  }

  /** Runs `work` while no assignment or release is in progress. */
  exclusively<T>(work: (own: OwnBlocks) => Promise<T>): Promise<T> {
    return this.#turns.run(() => work(this.#node.own));
  }

  #assigned({ ip, block }: Holding): Assigned {
    const pool = poolName(this.#node.pools, block.cidr);
    return { ip, block: block.cidr, pool, borrowed: block.node !== this.#node.name };
  }
}
