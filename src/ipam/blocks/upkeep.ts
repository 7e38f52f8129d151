import { FAMILIES, familyOf, type Ip } from '../../ip/address.ts';
import { type Cidr, contains, nthIp } from '../../ip/cidr.ts';
import { type Allocation, isIdle } from './block.ts';
import type { BlockAssignerOptions } from './block-assigner.ts';
import { dropBlock, withdraw } from './claim.ts';
import { freeOnce } from './free.ts';
import { IpamRecords } from './records.ts';
import { CONFLICT, retrying } from './retry.ts';
import { tunnelHandle } from './tunnel.ts';

/** What a node that is gone gave back; `kept`: blocks that other nodes' pods still have addresses of. */
export type Removed = {
  readonly released: readonly Ip[];
  readonly blocks: readonly Cidr[];
  readonly kept: readonly Cidr[];
};

export type Liveness = {
  /** The handles of this node's pods, as they are known now. */
  readonly live: ReadonlySet<string>;
  /** Asked again right before the release: a pod may have come since `live` was listed. */
  readonly isLive: (handle: string) => Promise<boolean>;
};

type Leak = {
  readonly handle: string;
  readonly addresses: readonly { ip: Ip; sequence: number; block: Cidr }[];
};

/** Gives back what nobody uses any more. Nothing goes that was not seen unused twice. Run each method now and then, one at a time. */
export class BlockUpkeep {
  readonly #options: BlockAssignerOptions;
  readonly #records: IpamRecords;
  /** Blocks seen empty the last time, with their revision. */
  #empty = new Map<Cidr, number>();
  /** Leaks seen the last time, and when first, in seconds. */
  #leaks = new Map<string, number>();

  constructor(options: BlockAssignerOptions) {
    this.#options = options;
    this.#records = new IpamRecords(options.kv, options.keys);
  }

  /**
   * Gives back this node's blocks that were empty the last time too, and unchanged since, and whose addresses have rested. One block
   * a family stays, of a pool that is in use: the next pod shall not wait for a claim.
   */
  async releaseEmptyBlocks(): Promise<readonly Cidr[]> {
    const { node, resources } = this.#options;
    const pools = resources().ipPools.filter((pool) => !pool.disabled);
    const { cooldown } = await this.#records.config();
    const affinities = await this.#records.affinities(node);
    const confirmed = affinities.filter(({ value }) => value === 'confirmed');
    const blocks = await this.#records.blocks(confirmed.map(({ cidr }) => cidr));
    const spared = FAMILIES.map((family) =>
      blocks.find(
        ({ value: { cidr } }) => familyOf(cidr) === family && pools.some((pool) => contains(pool.cidr, cidr)),
      ),
    );
    const seen = this.#empty;
    this.#empty = new Map();
    const dropped: Cidr[] = [];
    for (const block of blocks) {
      const { cidr } = block.value;
      if (spared.includes(block) || !isIdle(block.value, this.#now(), cooldown)) continue;
      if (seen.get(cidr) !== block.revision) this.#empty.set(cidr, block.revision);
      else if (await dropBlock(this.#records, block)) dropped.push(cidr);
    }
    return dropped;
  }

  /**
   * Releases this node's addresses whose handle is no live pod's, if that was so the last time too and has been for `grace` seconds,
   * and is so at this moment. A handle goes as a whole or not at all; one whose addresses changed hands meanwhile is left alone. Reads
   * every block of the cluster, for addresses borrowed.
   */
  async collectGarbage({ live, isLive }: Liveness, grace: number): Promise<readonly Ip[]> {
    const now = this.#now();
    const seen = this.#leaks;
    this.#leaks = new Map();
    const released: Ip[] = [];
    for (const leak of await this.#unused(live)) {
      const name = JSON.stringify(leak);
      const since = seen.get(name);
      if (since === undefined || now - since < grace) this.#leaks.set(name, since ?? now);
      else if (!(await isLive(leak.handle))) released.push(...(await this.#free(leak)));
    }
    return released;
  }

  /**
   * Gives back all that a node had which left the cluster for good. Blocks that other nodes borrow from stay its own, nobody
   * allocates from them but to borrow: call it again later for those.
   */
  async removeNode(node: string): Promise<Removed> {
    const released: Ip[] = [];
    for (const leak of await this.#handlesOf(node)) released.push(...(await this.#free(leak)));
    const blocks: Cidr[] = [];
    const kept: Cidr[] = [];
    for (const { cidr } of await this.#records.affinities(node)) {
      const outcome = await retrying('node remove', this.#random, () => this.#drop(node, cidr));
      if (outcome === 'dropped') blocks.push(cidr);
      if (outcome === 'in use') kept.push(cidr);
    }
    return { released, blocks, kept };
  }

  async #drop(node: string, cidr: Cidr): Promise<'dropped' | 'in use' | 'gone' | typeof CONFLICT> {
    const affinity = (await this.#records.affinities(node)).find((each) => each.cidr === cidr);
    if (!affinity) return 'gone';
    if (affinity.value === 'pending') {
      return (await withdraw(this.#records, affinity)) ? 'gone' : CONFLICT;
    }
    const [block] = await this.#records.blocks([cidr]);
    if (block?.value.node !== node) return CONFLICT;
    if (block.value.allocations.size > 0) return 'in use';
    return (await dropBlock(this.#records, block)) ? 'dropped' : CONFLICT;
  }

  async #unused(live: ReadonlySet<string>): Promise<Leak[]> {
    const { node } = this.#options;
    const leaks = await this.#handlesOf(node);
    return leaks.filter(({ handle }) => !live.has(handle) && handle !== tunnelHandle(node));
  }

  async #handlesOf(node: string): Promise<Leak[]> {
    const byHandle = new Map<string, Leak['addresses'][number][]>();
    for (const { value: block } of await this.#records.allBlocks()) {
      for (const [ordinal, allocation] of block.allocations) {
        if (allocation.node !== node) continue;
        const { handle, sequence } = allocation;
        const addresses = byHandle.get(handle) ?? [];
        addresses.push({ ip: nthIp(block.cidr, ordinal), sequence, block: block.cidr });
        byHandle.set(handle, addresses);
      }
    }
    return [...byHandle].map(([handle, addresses]) => ({ handle, addresses }));
  }

  async #free({ handle, addresses }: Leak): Promise<readonly Ip[]> {
    const which = (ip: Ip, { sequence }: Allocation): boolean =>
      addresses.some((each) => each.ip === ip && each.sequence === sequence);
    const what = { handle, blocks: addresses.map(({ block }) => block), which };
    return retrying('address release', this.#random, () => freeOnce(this.#records, what, this.#now()));
  }

  get #random(): () => number {
    return this.#options.random ?? Math.random;
  }

  /** Seconds since 1970. */
  #now(): number {
    return (this.#options.clock ?? Date.now)() / 1000;
  }
}
