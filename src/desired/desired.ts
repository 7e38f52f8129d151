import { IPV6_LEAST_MTU } from '../backends/inner-mtu.ts';
import { type Configured, configuredBackend } from '../backends/registry.ts';
import type { Network } from '../cluster/network.ts';
import { type LocalPod, type Node, podTitle, type Self } from '../cluster/node.ts';
import { NO_RESOURCES, type Resources } from '../cluster/resources.ts';
import { FAMILIES, type Family } from '../ip/address.ts';
import { podNetworks } from '../masquerade/pod-networks.ts';
import { masqueradeItems } from '../masquerade/table.ts';
import type { Item } from '../state/item.ts';
import { wiredPodItems, wiringItems } from '../wiring/wiring.ts';
import { Collector } from './collector.ts';
import { type PeerResult, peerItems } from './peer.ts';
import { familyMtu, podMtu } from './pod-mtu.ts';
import { strayPods } from './stray-pods.ts';

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
  /** What keeps a peer, a family or a pod from working, for people. */
  readonly warnings: readonly string[];
  /** Bytes a pod may send in one packet. */
  readonly mtu: number;
};

/** What `desiredState` remembers between calls: each peer's items, for as long as the peer's object lives. */
export type Memo = { context: string; peers: WeakMap<Node, PeerResult> };

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
      state.add(backend.cluster?.(self, others, options, family) ?? [], 'this node');
    }
    const networks = podNetworks(network, resources, self, family);
    state.add(masqueradeItems(network.masquerade, family, networks), 'this node');
  }
  // Pods keep what they hang on, and their way out, although no peer can be reached in a family.
  const used = FAMILIES.filter((family) => network.pools[family]);
  const ports = backend.tunnelPorts?.(options) ?? [];
  state.add(wiringItems(self, network.wiring, pods, used, mtu, ports), 'this node');
  for (const pod of pods) state.add(wiredPodItems(pod, used, mtu), podTitle(pod));

  state.warnings.push(...strayPods(network, resources, pods));

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

function usable(
  network: Network,
  self: Self,
  configured: Configured,
  family: Family,
  warnings: string[],
): boolean {
  if (!network.pools[family]) return false;
  const refusal = refusalOf(self, configured, family);
  const trouble = refusal ?? (family === 6 ? narrowWay(self, configured) : undefined);
  if (trouble !== undefined) warnings.push(`IPv${family}: ${trouble}`);
  return refusal === undefined;
}

/** Pods send 1280 bytes whatever the way, and the kernel drops what a tunnel over IPv6 makes too large of it (ip6_fragment). */
function narrowWay(self: Self, { backend, options }: Configured): string | undefined {
  const { pathMtu } = self.underlay;
  const overhead = backend.overhead(self, options, 6);
  if (pathMtu === undefined || overhead === 0 || backend.underlayMtu?.(options) !== undefined)
    return undefined;
  if (pathMtu >= IPV6_LEAST_MTU + overhead) return undefined;
  return (
    `the narrowest way to a node carries ${pathMtu} bytes, and a tunnel needs ${IPV6_LEAST_MTU + overhead}: ` +
    `where IPv6 goes that way, packets of more than ${pathMtu - overhead} are lost`
  );
}

function refusalOf(self: Self, configured: Configured, family: Family): string | undefined {
  const { backend, options } = configured;
  const { dev, addresses } = self.underlay;
  if (addresses[family] === undefined) return `${dev} has no IPv${family} address`;
  const mtu = familyMtu(self, configured, family);
  if (family === 6 && mtu < IPV6_LEAST_MTU) {
    return `the MTU of ${dev} leaves ${mtu} bytes for a packet, and IPv6 needs ${IPV6_LEAST_MTU}: raise it`;
  }
  return backend.refuses?.(self, options, family);
}
