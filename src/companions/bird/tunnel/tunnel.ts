import { isDeepStrictEqual } from 'node:util';
import { Latest } from '../../../async/latest.ts';
import { untilDone } from '../../../async/until-done.ts';
import { requiresIpip, type TunnelFacts } from '../../../backends/bgp-tunnel.ts';
import type { IpPool } from '../../../cluster/resources.ts';
import type { Ip } from '../../../ip/address.ts';
import { tunnelAddress } from '../../../ipam/blocks/tunnel.ts';
import type { ClusterFacts, CompanionContext } from '../../companion.ts';
import type { FoundTunnel } from './find.ts';
import { TunnelHandover } from './handover.ts';

/** The pools that the tunnel's address may come from, and the node's labels, which select among them. */
type Wanted = { readonly pools: readonly IpPool[]; readonly labels: ClusterFacts['labels'] };

/** This node's IPIP tunnel: finds its address in a block, and adds and removes it without packet loss. */
export class Tunnel implements Disposable {
  readonly #context: CompanionContext;
  readonly #handover = new TunnelHandover(() => this.#changed());
  readonly #search: Latest<Wanted>;
  #address: Ip | undefined;
  #facts: TunnelFacts = {};
  /** The pools in which an address was last sought. */
  #pools: unknown;

  /** `found`: the device left by an earlier agent. */
  constructor(context: CompanionContext, found: FoundTunnel | undefined) {
    this.#context = context;
    this.#search = new Latest(
      'take a tunnel address',
      (wanted, superseded) => this.#findAddress(wanted, superseded),
      context,
    );
    if (!found) return;
    this.#handover.adopt();
    this.#address = found.address;
    this.#facts = this.#current();
  }

  [Symbol.dispose](): void {
    this.#handover[Symbol.dispose]();
  }

  get facts(): TunnelFacts {
    return this.#facts;
  }

  learn({ network, resources, nodes, labels, isMember }: ClusterFacts): void {
    const { ipPools } = resources;
    const inUse = nodes.some(({ subnets }) => subnets.length > 0);
    this.#handover.setWanted(requiresIpip(ipPools), inUse);
    this.#facts = this.#current();
    if (!isMember || network.addresses !== 'blocks' || this.#handover.mustStay || this.#pools === ipPools)
      return;
    this.#pools = ipPools;
    this.#search.push({ pools: ipPools, labels });
  }

  /** Called when the kernel has created the device. */
  deviceCreated(): void {
    this.#handover.deviceCreated();
    this.#facts = this.#current();
  }

  async #findAddress({ pools, labels }: Wanted, signal: AbortSignal): Promise<void> {
    const { assigner, node, log } = this.#context;
    const find = () => tunnelAddress(assigner, { name: node, labels }, pools, signal);
    const found = await untilDone('take a tunnel address', find, { signal, log });
    this.#address = found?.ip;
    this.#changed();
  }

  #changed(): void {
    this.#facts = this.#current();
    this.#context.changed();
  }

  /** Returns the previous object if nothing has changed. */
  #current(): TunnelFacts {
    const facts: TunnelFacts = {
      ...(this.#address !== undefined && { address: this.#address }),
      ...(this.#handover.onlyReceives && { onlyReceives: true }),
    };
    return isDeepStrictEqual(facts, this.#facts) ? this.#facts : facts;
  }
}
