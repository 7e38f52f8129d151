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
  /** Handles of this node's pods. A pod's handle is added before its addresses are requested. */
  readonly live: ReadonlySet<string>;
  /** Called right before the release: a pod may have been added since `live` was listed. */
  readonly isLive: (handle: string) => Promise<boolean>;
};

/** A running pod and the addresses it uses. */
export type Use = Pick<AssignRequest, 'handle' | 'attributes'> & { readonly addresses: readonly Ip[] };

/** An address that a pod uses but cannot be assigned. */
export type Contested = { readonly ip: Ip; readonly handle: string; readonly reason: string };

/**
 * Releases what this node no longer uses and finishes operations interrupted by a crash. Releases nothing
 * that was not seen unused twice. Run each method periodically, one at a time.
 */
export class BlockUpkeep {
  readonly #assigner: BlockAssigner;
  readonly #options: BlockAssignerOptions;
  readonly #store: BlockStore;
  /** Blocks found empty by the previous run. */
  #empty = new Map<Cidr, Version>();
  /** Leaks found by the previous run, with the time first seen, in seconds. */
  #leaks = new Map<string, number>();
  /** Other nodes' blocks in which the previous run found addresses of this node. */
  #lenders: readonly Cidr[] = [];

  /** `options`: the assigner's. */
  constructor(assigner: BlockAssigner, options: BlockAssignerOptions) {
    this.#assigner = assigner;
    this.#options = options;
    this.#store = options.store;
  }

  /**
   * Finishes interrupted claims and releases, then releases this node's blocks that were also empty last
   * time, have not changed since and whose addresses have rested. Keeps one block per family from an enabled
   * pool, so that the next pod need not wait for a claim.
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
   * Releases this node's addresses whose handle belongs to no live pod, provided that the previous run found
   * the same, at least `grace` seconds have passed since it was first seen, and it is still so now. A handle
   * is released as a whole or not at all; one whose addresses have been reassigned is left alone.
   *
   * Searches this node's blocks and those of other nodes it is known to borrow from. With `everywhere`,
   * searches every block of the cluster; only that finds addresses borrowed before this process started.
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
    for (const leak of await this.#leaksOf(live, everywhere)) {
      const name = JSON.stringify(leak);
      const since = seen.get(name);
      if (since === undefined || now - since < grace) this.#leaks.set(name, since ?? now);
      else released.push(...(await this.#assigner.releaseLeak(leak, isLive)));
    }
    return released;
  }

  /**
   * Reassigns addresses that pods of this node use but the store does not record, after the store was lost or
   * restored to an older state. Returns the addresses that were regained and those that could not be.
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
          else contested.push({ ip, handle, reason: `the store has ${got?.ip} for it` });
        } catch (error) {
          if (codeOf(error) === 'STORE_UNAVAILABLE') throw error;
          contested.push({ ip, handle, reason: messageOf(error) });
        }
      }
    }
    return { regained, contested };
  }

  async #leaksOf(live: ReadonlySet<string>, everywhere: boolean): Promise<Leak[]> {
    const { node } = this.#options;
    const affinities = await this.#store.affinities(everywhere ? undefined : node);
    const used = new Map<Cidr, Block>();
    const findLeaks = async (cidrs: Iterable<Cidr>): Promise<Leak[]> => {
      for await (const page of pagesOf(this.#store, [...new Set(cidrs)])) {
        for (const { value } of page) if (isUsedBy(node, value)) used.set(value.cidr, value);
      }
      const all = handlesOf(node, used.values());
      return all.filter(({ handle }) => !live.has(handle) && handle !== tunnelHandle(node));
    };
    const found = await findLeaks([...affinities.map(({ value }) => value.cidr), ...this.#lenders]);
    // The handle's address of the other family may be borrowed.
    const handles = await this.#store.handles(found.map(({ handle }) => handle));
    const named = handles.flatMap((handle) => handle?.value.addresses.map(({ block }) => block) ?? []);
    const leaks = await findLeaks(named.filter((cidr) => !used.has(cidr)));
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
