import { logFailure } from '../async/background.ts';
import { pause } from '../async/pause.ts';
import type { LocalPod } from '../cluster/node.ts';
import type { IpReservation } from '../cluster/resources.ts';
import { handleOf } from '../cni/records/attachment.ts';
import { BITS, familyOf } from '../ip/address.ts';
import { cidrOf } from '../ip/cidr.ts';
import { BlockAssigner, type BlockAssignerOptions } from '../ipam/blocks/block-assigner.ts';
import { BlockUpkeep, type Use } from '../ipam/blocks/upkeep.ts';
import type { Log } from '../log.ts';
import type { BlockStore } from '../store/ports/blocks.ts';
import type { Facts } from './facts.ts';

/** Milliseconds between looks for blocks and addresses that nobody uses. */
const UPKEEP_INTERVAL = 60_000;
/** Seconds an address without a pod is left alone, seen by two looks at least. */
const GRACE = 15 * 60;
/**
 * Milliseconds between looks through the blocks of the whole cluster, for addresses that were borrowed before
 * this agent started and belong to no pod any more: with a thousand agents that is much to read, and seldom
 * worth it.
 */
const WIDE_INTERVAL = 6 * 60 * 60_000;

/**
 * This node's part in the blocks plan: addresses for its pods and its companion, and what it no longer needs
 * given back.
 */
export class Blocks {
  readonly assigner: BlockAssigner;
  readonly #facts: Facts;
  readonly #upkeep: BlockUpkeep;
  readonly #log: Log;
  /** Agents that start together must not all read everything together. */
  #nextWide = performance.now() + Math.random() * WIDE_INTERVAL;

  constructor(facts: Facts, store: BlockStore, log: Log) {
    const { node } = facts.options;
    const options: BlockAssignerOptions = {
      store,
      node,
      nodeLabels: () => facts.labels,
      resources: () => ({
        ipPools: facts.resources.ipPools,
        ipReservations: [...facts.resources.ipReservations, inUse(routedPods(facts))],
      }),
    };
    this.#facts = facts;
    this.#log = log;
    this.assigner = new BlockAssigner(options);
    this.#upkeep = new BlockUpkeep(this.assigner, options);
  }

  /**
   * Gives back what is not used, now and then, until the signal aborts. `live`: the handles of this node's
   * pods as they are now. Not before this machine is the node of its name: while another has the name, it
   * would take that one's addresses for nobody's.
   */
  async keepUp(live: () => ReadonlySet<string>, signal: AbortSignal): Promise<void> {
    while (await pause(UPKEEP_INTERVAL, signal)) {
      if (!this.#facts.isMember || !this.#facts.usesBlocks) continue;
      await this.#keepUp(live).catch((error: unknown) => {
        if (!signal.aborted) logFailure('look after addresses', error, this.#log);
      });
    }
  }

  async #keepUp(live: () => ReadonlySet<string>): Promise<void> {
    const { regained, contested } = await this.#upkeep.regain(routedPods(this.#facts).map(useOf));
    if (regained.length > 0) this.#log.warn({ regained }, 'the store had forgotten addresses of pods');
    for (const { ip, handle, reason } of contested) {
      this.#log.error({ ip, handle, reason }, 'a pod uses an address that is not its own; make it anew');
    }
    const dropped = await this.#upkeep.releaseEmptyBlocks();
    const isLive = async (handle: string): Promise<boolean> => live().has(handle);
    const now = performance.now();
    const everywhere = now >= this.#nextWide;
    const released = await this.#upkeep.collectGarbage({ live: live(), isLive }, GRACE, everywhere);
    if (everywhere) this.#nextWide = now + WIDE_INTERVAL;
    if (dropped.length + released.length > 0) this.#log.info({ dropped, released }, 'given back');
  }
}

/** Those that have addresses of blocks. */
function routedPods(facts: Facts): readonly LocalPod[] {
  return facts.pods.list().filter(({ foreign, wiring }) => wiring === 'routed' && !foreign);
}

/** Whatever the store says, or has forgotten, no other pod gets what a pod uses here. */
function inUse(pods: readonly LocalPod[]): IpReservation {
  const cidrs = pods.flatMap(({ addresses }) => addresses.map((ip) => cidrOf(ip, BITS[familyOf(ip)])));
  return { name: 'in use here', cidrs };
}

function useOf(pod: LocalPod): Use {
  const { namespace, name } = pod;
  return {
    handle: handleOf(pod),
    addresses: pod.addresses,
    attributes: { ...(name && { pod: name }), ...(namespace && { namespace }) },
  };
}
