import type { LocalPod } from '../cluster/node.ts';
import type { IpReservation } from '../cluster/resources.ts';
import { handleOf } from '../cni/addresses/blocks.ts';
import { messageOf } from '../error.ts';
import { BITS, familyOf, type Ip } from '../ip/address.ts';
import { cidrOf } from '../ip/cidr.ts';
import { BlockAssigner, type BlockAssignerOptions } from '../ipam/blocks/block-assigner.ts';
import { tunnelAddress } from '../ipam/blocks/tunnel.ts';
import { BlockUpkeep, type Use } from '../ipam/blocks/upkeep.ts';
import type { Log } from '../log.ts';
import type { Store } from '../store/ports/store.ts';
import type { Agent } from './agent.ts';
import { untilDone } from './retry.ts';

/** Milliseconds between looks for blocks and addresses that nobody uses. */
const UPKEEP_INTERVAL = 60_000;
/** Seconds an address without a pod is left alone, seen by two looks at least. */
const GRACE = 15 * 60;
/**
 * Milliseconds between looks through the blocks of the whole cluster, for addresses that were borrowed before this
 * agent started and belong to no pod any more: with a thousand agents that is much to read, and seldom worth it.
 */
const WIDE_INTERVAL = 6 * 60 * 60_000;

/** This node's part in the blocks plan: addresses for its pods and its tunnel device, and what it no longer needs given back. */
export class Blocks {
  readonly assigner: BlockAssigner;
  readonly #agent: Agent;
  readonly #upkeep: BlockUpkeep;
  readonly #log: Log;
  readonly #signal: AbortSignal;
  /** Agents that start together shall not all read everything together. */
  #nextWide = performance.now() + Math.random() * WIDE_INTERVAL;
  #pools: unknown;
  #working: Promise<void> = Promise.resolve();

  constructor(agent: Agent, store: Store, log: Log, signal: AbortSignal) {
    const { node } = agent.options;
    const options: BlockAssignerOptions = {
      store: store.blocks,
      node,
      nodeLabels: () => agent.labels,
      resources: () => ({
        ipPools: agent.resources.ipPools,
        ipReservations: [...agent.resources.ipReservations, inUse(routedPods(agent))],
      }),
    };
    this.#agent = agent;
    this.#log = log;
    this.#signal = signal;
    this.assigner = new BlockAssigner(options);
    this.#upkeep = new BlockUpkeep(this.assigner, options);
  }

  /** The tunnel device has an address of a pool that asks for IPIP; looks again when the pools are others, and it may go. */
  followPools(): void {
    const { ipPools } = this.#agent.resources;
    if (this.#pools === ipPools || this.#agent.tunnelStays) return;
    this.#pools = ipPools;
    this.#working = this.#working
      .then(() => this.#findTunnelAddress())
      .catch((error: unknown) => {
        if (!this.#signal.aborted) this.#log.warn({ error: messageOf(error) }, 'no tunnel address');
      });
  }

  /**
   * Gives back what is not used, now and then, until the signal aborts. `live`: the handles of this node's pods as they are now.
   * `isMember`: whether this machine is the node of its name. One that is not yet, as another has the name, would take
   * that one's addresses for nobody's.
   */
  start(live: () => ReadonlySet<string>, isMember: () => boolean): void {
    const timer = setInterval(() => {
      if (!isMember() || this.#agent.network?.addresses !== 'blocks') return;
      this.#keepUp(live).catch((error: unknown) => {
        this.#log.warn({ error: messageOf(error) }, 'addresses not looked after');
      });
    }, UPKEEP_INTERVAL);
    this.#signal.addEventListener('abort', () => clearInterval(timer), { once: true });
  }

  async #keepUp(live: () => ReadonlySet<string>): Promise<void> {
    const { regained, contested } = await this.#upkeep.regain(routedPods(this.#agent).map(useOf));
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

  async #findTunnelAddress(): Promise<void> {
    const { options, labels, resources } = this.#agent;
    const found = await untilDone(
      'take a tunnel address',
      () => tunnelAddress(this.assigner, { name: options.node, labels }, resources.ipPools, this.#signal),
      { signal: this.#signal, log: this.#log },
    );
    const ip: Ip | undefined = found?.ip;
    this.#agent.tunnelAddressIs(ip);
  }
}

/** Those that have addresses of blocks. */
function routedPods(agent: Agent): readonly LocalPod[] {
  return agent.pods.list().filter(({ foreign, wiring }) => wiring === 'routed' && !foreign);
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
