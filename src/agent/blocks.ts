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

/** Interval between scans for unused blocks and addresses, in milliseconds. */
const UPKEEP_INTERVAL = 60_000;
/** Grace period of an address without a pod, in seconds; at least two scans must have seen it unused. */
const GRACE = 15 * 60;
/**
 * Interval between scans of the whole cluster's blocks, in milliseconds. They find addresses that were
 * borrowed before this agent started and whose pods are gone. With a thousand agents the scans are expensive
 * and rarely find anything.
 */
const WIDE_INTERVAL = 6 * 60 * 60_000;

/**
 * This node's use of address blocks: assigns addresses to its pods and its companion, and returns the ones it
 * no longer needs.
 */
export class Blocks {
  readonly assigner: BlockAssigner;
  readonly #facts: Facts;
  readonly #upkeep: BlockUpkeep;
  readonly #log: Log;
  /** Randomised, so that agents that start together don't all scan at the same time. */
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
   * Periodically returns unused blocks and addresses until the signal aborts. `live` returns the handles of
   * this node's current pods. Does nothing until the store confirms that this machine owns its node name:
   * while another machine has the name, that machine's addresses would look unused.
   */
  async keepUp(live: () => ReadonlySet<string>, signal: AbortSignal): Promise<void> {
    while (await pause(UPKEEP_INTERVAL, signal)) {
      if (!this.#facts.isMember || !this.#facts.usesBlocks) continue;
      await this.#keepUp(live).catch((error: unknown) => {
        if (!signal.aborted) logFailure('maintain addresses', error, this.#log);
      });
    }
  }

  async #keepUp(live: () => ReadonlySet<string>): Promise<void> {
    const { regained, contested } = await this.#upkeep.regain(routedPods(this.#facts).map(useOf));
    if (regained.length > 0)
      this.#log.warn({ regained }, 'the store had lost addresses of pods; claimed again');
    for (const { ip, handle, reason } of contested) {
      this.#log.error(
        { ip, handle, reason },
        'a pod uses an address assigned to something else; recreate the pod',
      );
    }
    const dropped = await this.#upkeep.releaseEmptyBlocks();
    const isLive = async (handle: string): Promise<boolean> => live().has(handle);
    const now = performance.now();
    const everywhere = now >= this.#nextWide;
    const released = await this.#upkeep.collectGarbage({ live: live(), isLive }, GRACE, everywhere);
    if (everywhere) this.#nextWide = now + WIDE_INTERVAL;
    if (dropped.length + released.length > 0)
      this.#log.info({ dropped, released }, 'returned unused blocks and addresses');
  }
}

/** The pods whose addresses come from blocks. */
function routedPods(facts: Facts): readonly LocalPod[] {
  return facts.pods.list().filter(({ foreign, wiring }) => wiring === 'routed' && !foreign);
}

/** Reserves the addresses in use on this node, even if the store has lost or reassigned them. */
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
