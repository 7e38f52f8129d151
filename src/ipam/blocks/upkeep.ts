import { codeOf, messageOf } from '../../error.ts';
import { FAMILIES, familyOf, type Ip } from '../../ip/address.ts';
import { type Cidr, contains } from '../../ip/cidr.ts';
import { type Block, type BlockStore, tunnelHandle, type Version } from '../../store/ports/blocks.ts';
import type { AssignRequest } from '../assigner.ts';
import { isHeldBy, isIdle } from './block.ts';
import type { BlockAssigner, BlockAssignerOptions } from './block-assigner.ts';
import { dropBlock, settle } from './claim.ts';
import { handlesOf, type Leak } from './leak.ts';
import { heldOf } from './own-blocks.ts';
import { pagesOf } from './pick.ts';

export type Liveness = {
  /**
   * The handles of this node's pods as they are known now. A pod's is among them before its addresses are
   * asked for.
   */
  readonly live: ReadonlySet<string>;
  /** Asked again right before the release: a pod may have come since `live` was listed. */
  readonly isLive: (handle: string) => Promise<boolean>;
};

/** A running pod, and what it uses. */
export type Use = Pick<AssignRequest, 'handle' | 'attributes'> & { readonly addresses: readonly Ip[] };

/** An address that a pod uses and cannot have. */
export type Contested = { readonly ip: Ip; readonly handle: string; readonly reason: string };

/**
 * Gives back what this node no longer uses, and finishes what a crash cut short. Nothing goes that was not
 * seen unused twice. Run each method now and then, one at a time.
 */
export class BlockUpkeep {
  readonly #assigner: BlockAssigner;
  readonly #options: BlockAssignerOptions;
  readonly #store: BlockStore;
  /** Blocks seen empty the last time. */
  #empty = new Map<Cidr, Version>();
  /** Leaks seen the last time, and when first, in seconds. */
  #leaks = new Map<string, number>();
  /** Other nodes' blocks that had addresses of this node the last time. */
  #lenders: readonly Cidr[] = [];

  /** `options`: the assigner's. */
  constructor(assigner: BlockAssigner, options: BlockAssignerOptions) {
    this.#assigner = assigner;
    this.#options = options;
    this.#store = options.store;
  }

  /**
   * Finishes claims and returns that were cut short, then gives back this node's blocks that were empty the
   * last time too, and unchanged since, and whose addresses have rested. One block a family stays, of a pool
   * that is in use, so that the next pod need not wait for a claim.
   */
  releaseEmptyBlocks(): Promise<readonly Cidr[]> {
    return this.#assigner.exclusively(async (own) => {
      const { config, blocks, unsettled } = await own.read();
      if (unsettled.length > 0) own.forget();
      for (const affinity of unsettled) await settle(this.#store, affinity);
      const pools = this.#options.resources().ipPools.filter((pool) => !pool.disabled);
      const spared = FAMILIES.map((family) =>
        blocks.find(
          ({ value: { cidr } }) =>
            familyOf(cidr) === family && pools.some((pool) => contains(pool.cidr, cidr)),
        ),
      );
      const seen = this.#empty;
      this.#empty = new Map();
      const dropped: Cidr[] = [];
      for (const block of blocks) {
        const { cidr } = block.value;
        if (spared.includes(block) || !isIdle(block.value, this.#now(), config.cooldown)) continue;
        if (seen.get(cidr) !== block.version) this.#empty.set(cidr, block.version);
        else {
          own.forget();
          if (await dropBlock(this.#store, block)) dropped.push(cidr);
        }
      }
      return dropped;
    });
  }

  /**
   * Releases this node's addresses whose handle is no live pod's, if that was so the last time too and has
   * been for `grace` seconds, and is so at this moment. A handle goes as a whole or not at all; one whose
   * addresses changed hands meanwhile is left alone.
   *
   * Looks through this node's blocks, and those of others that it was seen to borrow from. With `everywhere`
   * it looks through every block of the cluster, which alone finds what was borrowed before this process
   * started.
   */
  async collectGarbage(
    { live, isLive }: Liveness,
    grace: number,
    everywhere = false,
  ): Promise<readonly Ip[]> {
    const now = this.#now();
    const seen = this.#leaks;
    this.#leaks = new Map();
    const released: Ip[] = [];
    for (const leak of await this.#unused(live, everywhere)) {
      const name = JSON.stringify(leak);
      const since = seen.get(name);
      if (since === undefined || now - since < grace) this.#leaks.set(name, since ?? now);
      else released.push(...(await this.#assigner.releaseLeak(leak, isLive)));
    }
    return released;
  }

  /**
   * Takes the addresses again that pods of this node use though the store does not know it: it was lost, or
   * put back to an older state. Returns those that it took, and those that it could not.
   */
  async regain(
    uses: readonly Use[],
  ): Promise<{ readonly regained: readonly Ip[]; readonly contested: readonly Contested[] }> {
    const handles = await this.#store.handles(uses.map(({ handle }) => handle));
    const known = await this.#assigner.exclusively((own) => own.read());
    const cidrs = handles.flatMap((handle) => handle?.value.addresses.map(({ block }) => block) ?? []);
    const blocks = await this.#store.blocks([...new Set(cidrs)]);
    const byCidr = new Map(blocks.map(({ value }) => [value.cidr, value]));
    const regained: Ip[] = [];
    const contested: Contested[] = [];
    for (const [i, { handle, attributes, addresses }] of uses.entries()) {
      const named = handles[i]?.value.addresses ?? [];
      const borrowed = named.filter(({ ip, block }) => {
        const at = byCidr.get(block);
        return at && isHeldBy(at, ip, handle);
      });
      const held = [...heldOf(known, handle), ...borrowed];
      for (const ip of addresses.filter((each) => !held.some((holding) => holding.ip === each))) {
        const request = { handle, attributes, families: [familyOf(ip)], requested: [ip] };
        try {
          const [got] = await this.#assigner.assign(request);
          if (got?.ip === ip) regained.push(ip);
          else contested.push({ ip, handle, reason: `the store says it has ${got?.ip}` });
        } catch (error) {
          if (codeOf(error) === 'STORE_UNAVAILABLE') throw error;
          contested.push({ ip, handle, reason: messageOf(error) });
        }
      }
    }
    return { regained, contested };
  }

  async #unused(live: ReadonlySet<string>, everywhere: boolean): Promise<Leak[]> {
    const { node } = this.#options;
    const affinities = await this.#store.affinities(everywhere ? undefined : node);
    const used = new Map<Cidr, Block>();
    const look = async (cidrs: Iterable<Cidr>): Promise<Leak[]> => {
      for await (const page of pagesOf(this.#store, [...new Set(cidrs)])) {
        for (const { value } of page) if (isUsedBy(node, value)) used.set(value.cidr, value);
      }
      const all = handlesOf(node, used.values());
      return all.filter(({ handle }) => !live.has(handle) && handle !== tunnelHandle(node));
    };
    const found = await look([...affinities.map(({ value }) => value.cidr), ...this.#lenders]);
    // The other family's address may be borrowed.
    const handles = await this.#store.handles(found.map(({ handle }) => handle));
    const named = handles.flatMap((handle) => handle?.value.addresses.map(({ block }) => block) ?? []);
    const leaks = await look(named.filter((cidr) => !used.has(cidr)));
    this.#lenders = [...used.values()].filter((block) => block.node !== node).map(({ cidr }) => cidr);
    return leaks;
  }

  /** Seconds since 1970. */
  #now(): number {
    return (this.#options.clock ?? Date.now)() / 1000;
  }
}

function isUsedBy(node: string, { allocations }: Block): boolean {
  return [...allocations.values()].some((allocation) => allocation.node === node);
}
