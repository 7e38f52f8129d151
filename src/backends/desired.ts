import type { Network } from '../cluster/network.ts';
import type { LocalPod, Node, Self } from '../cluster/node.ts';
import { NO_RESOURCES, type Resources } from '../cluster/resources.ts';
import { FAMILIES, type Family } from '../ip/address.ts';
import { overlaps } from '../ip/cidr.ts';
import { podNetworks } from '../masquerade/pod-networks.ts';
import { masqueradeItems } from '../masquerade/table.ts';
import type { Item, NftTableItem } from '../state/item.ts';
import { keyOf } from '../state/key.ts';
import { wiredPodItems, wiringItems } from '../wiring/wiring.ts';
import { subnetsOf } from './direct.ts';
import { IPV6_LEAST_MTU, innerMtu } from './inner-mtu.ts';
import { type Configured, configuredBackend } from './registry.ts';

/** All that one node's desired state is computed from. */
export type Facts = {
  readonly network: Network;
  readonly self: Self;
  /** The nodes of the cluster; this node among them is passed over. */
  readonly peers: readonly Node[];
  /** The pods that hang on this node. */
  readonly pods: readonly LocalPod[];
  /** Absent: nobody has written any. */
  readonly resources?: Resources;
};

export type Desired = {
  /** No two with the same key. Items of a peer that did not change are the same objects as in the last call. */
  readonly items: readonly Item[];
  /** What keeps a peer or a family from working, for people. */
  readonly warnings: readonly string[];
  /** Bytes a pod may send in one packet. */
  readonly mtu: number;
};

/** What `desiredState` remembers between calls: each peer's items, for as long as the peer's object lives. */
export type Memo = { context: string; peers: WeakMap<Node, PeerResult> };
type PeerResult = { readonly items: readonly Item[]; readonly warnings: readonly string[] };

export function createMemo(): Memo {
  return { context: '', peers: new WeakMap() };
}

/**
 * What the kernel of this node should hold. Pure; with a memo, a call after one peer's change computes one peer.
 * Throws CONFIG_INVALID when the network's backend is unknown or its options are wrong.
 */
export function desiredState(facts: Facts, memo: Memo = createMemo()): Desired {
  const { network, self, peers, pods, resources = NO_RESOURCES } = facts;
  const configured = configuredBackend(network, resources);
  const mtu = podMtu(network, self, configured);
  const { backend, options } = configured;
  const others = peers.filter(({ name }) => name !== self.node.name);
  const state = new Collector();

  const families = FAMILIES.filter((family) => usable(network, self, configured, family, state.warnings));
  for (const family of FAMILIES) {
    const pool = network.pools[family];
    if (!pool) continue;
    if (families.includes(family)) {
      state.add(backend.device(self, options, family, pool.cidr), 'this node');
      state.add(backend.cluster?.(others, options, family) ?? [], 'this node');
    }
    const networks = podNetworks(network, resources, self, family);
    state.add(masqueradeItems(network.masquerade, family, networks), 'this node');
  }
  // Pods keep what they hang on, and their way out, although no peer can be reached in a family.
  const used = FAMILIES.filter((family) => network.pools[family]);
  const ports = backend.tunnelPorts?.(options) ?? [];
  state.add(wiringItems(self, network.wiring, pods, used, mtu, ports), 'this node');
  for (const pod of pods) state.add(wiredPodItems(pod, used, mtu), pod.name ?? pod.containerId);

  const context = JSON.stringify([network, options, self, families]);
  if (memo.context !== context) {
    memo.context = context;
    memo.peers = new WeakMap();
  }
  for (const peer of others) {
    let result = memo.peers.get(peer);
    if (!result) {
      result = peerItems(self, peer, configured, families);
      memo.peers.set(peer, result);
    }
    state.warnings.push(...result.warnings);
    state.add(result.items, peer.name);
  }
  return { items: state.items, warnings: state.warnings, mtu };
}

/**
 * Underlay MTU less the largest overhead of the families in use: one MTU serves a pod with both. But no less than IPv6 asks for:
 * a pod would lose its addresses for good, while IPv4 finds the way's smaller MTU by itself.
 */
export function podMtu(network: Network, self: Self, configured = configuredBackend(network)): number {
  const used = FAMILIES.filter((family) => network.pools[family]);
  const mtu = Math.min(...used.map((family) => mtuOf(self, configured, family)));
  return network.pools[6] ? Math.max(mtu, IPV6_LEAST_MTU) : mtu;
}

function mtuOf(self: Self, { backend, options }: Configured, family: Family): number {
  const mtu = backend.underlayMtu?.(options);
  return innerMtu(mtu === undefined ? self.underlay : { mtu }, backend.overhead(options, family), family);
}

function usable(
  network: Network,
  self: Self,
  configured: Configured,
  family: Family,
  warnings: string[],
): boolean {
  if (!network.pools[family]) return false;
  const refusal = refusalOf(self, configured, family);
  if (refusal !== undefined) warnings.push(`IPv${family}: ${refusal}`);
  return refusal === undefined;
}

function refusalOf(self: Self, configured: Configured, family: Family): string | undefined {
  const { backend, options } = configured;
  const { dev, addresses } = self.underlay;
  if (addresses[family] === undefined) return `${dev} has no IPv${family} address`;
  const mtu = mtuOf(self, configured, family);
  if (family === 6 && mtu < IPV6_LEAST_MTU) {
    return `the MTU of ${dev} leaves ${mtu} bytes for a packet, and IPv6 needs ${IPV6_LEAST_MTU}: raise it`;
  }
  return backend.refuses?.(self, options, family);
}

function peerItems(
  self: Self,
  peer: Node,
  { backend, options }: Configured,
  families: readonly Family[],
): PeerResult {
  const warn = (text: string) => `${peer.name}: ${text}`;
  if (peer.backend.type !== backend.type) {
    return {
      items: [],
      warnings: [warn(`uses backend '${peer.backend.type}', not '${backend.type}': ignored`)],
    };
  }
  const items: Item[] = [];
  const warnings: string[] = [];
  for (const family of families) {
    const stolen = subnetsOf(peer, family).find((theirs) =>
      self.node.subnets.some((ours) => overlaps(ours, theirs)),
    );
    if (stolen !== undefined) {
      warnings.push(warn(`its subnet ${stolen} overlaps this node's own: ignored in IPv${family}`));
      continue;
    }
    const result = backend.peer(self, peer, options, family);
    items.push(...result.items);
    if (result.warning !== undefined) warnings.push(warn(result.warning));
  }
  return { items, warnings };
}

/**
 * Gathers items; of two that want one slot the first stays, and the other is a warning. Except for nftables: what several
 * give of one table are its parts, chains and sets of different names.
 */
class Collector {
  readonly items: Item[] = [];
  readonly warnings: string[] = [];
  readonly #owners = new Map<string, string>();

  /** What one owner wants twice is the same thing: two blocks of a peer share its FDB entry. */
  add(items: readonly Item[], owner: string): void {
    for (const item of items) {
      const key = keyOf(item);
      const present = this.#owners.get(key);
      if (present !== undefined && item.kind === 'nft') {
        this.#join(key, item);
      } else if (present === undefined) {
        this.#owners.set(key, owner);
        this.items.push(item);
      } else if (present !== owner) {
        this.warnings.push(`${owner}: wants '${key}', which ${present} has already: ignored`);
      }
    }
  }

  #join(key: string, part: NftTableItem): void {
    const at = this.items.findIndex((item) => item.kind === 'nft' && keyOf(item) === key);
    const table = this.items[at];
    if (table?.kind !== 'nft') return;
    const sets = { ...table.sets, ...part.sets };
    this.items[at] = { ...table, body: `${table.body}\n${part.body}`, sets };
  }
}
