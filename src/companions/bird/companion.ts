import type { TunnelFacts } from '../../backends/bgp-tunnel.ts';
import type { Network } from '../../cluster/network.ts';
import type { Resources } from '../../cluster/resources.ts';
import { FAMILIES } from '../../ip/address.ts';
import type { Problem } from '../../problem.ts';
import type { LinkItem } from '../../state/kinds/link/item.ts';
import type { ClusterFacts, Companion, CompanionContext, CompanionKind, SettledFacts } from '../companion.ts';
import type { BgpPool } from './configuration/facts.ts';
import { endBird } from './end.ts';
import { type MainTable, readMainTable } from './kernel/main-table.ts';
import { BgpSpeaker } from './speaker.ts';
import { bgpHandlers } from './status/handlers.ts';
import type { Bgp } from './status/status.ts';
import { type FoundTunnel, findTunnel } from './tunnel/find.ts';
import { Tunnel } from './tunnel/tunnel.ts';

/**
 * The companion of backend `bgp`: BIRD, which provides the routes to the peers' pods, and the IPIP tunnel
 * they may use.
 */
export const bird: CompanionKind<BirdCompanion> = {
  start: async (context) => new BirdCompanion(context, await findTunnel(), await readMainTable()),
  end: ({ folders, holder, log }) => endBird(folders.run, holder, log),
  handlers: (running) => bgpHandlers(() => running()?.running),
};

class BirdCompanion implements Companion<TunnelFacts> {
  readonly #speaker: BgpSpeaker;
  readonly #tunnel: Tunnel;

  constructor(context: CompanionContext, found: FoundTunnel | undefined, table: MainTable) {
    const { folders, holder, secrets, log, signal } = context;
    this.#tunnel = new Tunnel(context, found);
    this.#speaker = new BgpSpeaker({ folder: folders.run, holder, secrets, table, log, signal });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#tunnel[Symbol.dispose]();
    await this.#speaker[Symbol.asyncDispose]();
  }

  get running(): Bgp | undefined {
    return this.#speaker.running;
  }

  get facts(): TunnelFacts {
    return this.#tunnel.facts;
  }

  get problem(): string | undefined {
    return this.#speaker.problem;
  }

  get opening(): string | undefined {
    return this.#speaker.opening;
  }

  get warnings(): readonly Problem[] {
    return this.#speaker.problems;
  }

  learn(cluster: ClusterFacts): void {
    this.#tunnel.learn(cluster);
  }

  update({ self, nodes, network, resources }: SettledFacts<TunnelFacts>): void {
    this.#speaker.update({ self, nodes, resources, pools: bgpPools(network, resources) });
  }

  deviceChanged({ link }: LinkItem): void {
    if (link.type !== 'ipip') return;
    this.#tunnel.deviceCreated();
    this.#speaker.onTunnel();
  }
}

/**
 * The networks that the cluster's pod addresses come from: Calico's pools, or those of a leased network,
 * which BIRD routes without a tunnel.
 */
function bgpPools(network: Network, { ipPools }: Resources): BgpPool[] {
  if (network.addresses === 'blocks') return [...ipPools];
  const leased = FAMILIES.flatMap((family) => network.pools[family]?.cidr ?? []);
  return leased.map((cidr) => ({ cidr, ipipMode: 'Never', disableBgpExport: false }));
}
