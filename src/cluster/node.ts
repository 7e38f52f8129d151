import type { Family, Ip } from '../ip/address.ts';
import type { Cidr } from '../ip/cidr.ts';
import type { Mac } from '../ip/mac.ts';
import type { Bandwidth } from './bandwidth.ts';
import type { Host } from './host.ts';
import type { HostPort } from './host-port.ts';
import type { OwnPort } from './own-port.ts';
import type { WiringName } from './wiring.ts';

/** A value per family; families the cluster does not use are absent. */
export type PerFamily<T> = { readonly [F in Family]?: T };

/** Calls `of` for each family and leaves out undefined results. */
export function perFamily<T>(of: (family: Family) => T | undefined): PerFamily<T> {
  const [v4, v6] = [of(4), of(6)];
  return { ...(v4 !== undefined && { 4: v4 }), ...(v6 !== undefined && { 6: v6 }) };
}

/**
 * A node owns blocks of pod addresses and publishes how to reach them. A flannel lease is a node with one
 * subnet per family; a Calico node has several blocks.
 */
export type Node = {
  /** DNS label, unique in the cluster; the public address where only a flannel lease is known. */
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Where peers send packets for this node: flannel's PublicIP and PublicIPv6. */
  readonly addresses: PerFamily<Ip>;
  /** Other addresses that its packets may come from. Absent: unknown. */
  readonly senders?: readonly Ip[];
  readonly subnets: readonly Cidr[];
  readonly backend: {
    /** A backend's `type`, e.g. `vxlan`. */
    readonly type: string;
    /**
     * The data that backend publishes for its peers: flannel's BackendData and BackendV6Data, decoded from
     * JSON.
     */
    readonly data: PerFamily<unknown>;
  };
};

/** What a node publishes, apart from its subnets. */
export type NodeFacts = Omit<Node, 'subnets'>;

/** This node as its own agent sees it: its published and its private facts. */
export type Self<CompanionFacts = unknown> = {
  readonly node: Node;
  readonly underlay: Underlay;
  /** What else its host uses. Absent: not known. */
  readonly host?: Host;
  /** The ports at which this host serves what the cluster depends on. Absent: none. */
  readonly serves?: readonly OwnPort[];
  /** Of its tunnel devices. Known to members of the cluster only. */
  readonly tunnelMacs: Readonly<Record<Family, Mac>>;
  /** Facts of the backend's companion (`companions/`), in a backend-specific type. */
  readonly companion?: CompanionFacts;
};

/** The interface that carries packets between nodes. */
export type Underlay = {
  readonly dev: string;
  /** Bytes, of the interface itself. */
  readonly mtu: number;
  /** Bytes, where a route to a peer allows less than the interface. */
  readonly pathMtu?: number;
  /** The interface's own address per family: tunnel endpoints bind to it. */
  readonly addresses: PerFamily<Ip>;
  /** Its other addresses. */
  readonly senders?: readonly Ip[];
  /** The networks on the interface: a peer inside one of them is on-link, reachable without a gateway. */
  readonly onLink: readonly Cidr[];
};

/** The pod an interface belongs to, as named by the container runtime. */
export type PodIdentity = {
  readonly namespace?: string;
  readonly name?: string;
  /** Kubernetes' own identification: a pod's successor may have its name. */
  readonly uid?: string;
  /** Empty where the runtime named none. */
  readonly labels: Readonly<Record<string, string>>;
};

/** A pod attached to this node, as recorded by CNI. */
export type LocalPod = PodIdentity & {
  readonly containerId: string;
  readonly ifName: string;
  /** The host end of its veth. Absent: its interface has no end here, as with macvlan. */
  readonly hostDevice?: string;
  /** The path of its network namespace, and the inode: the path may come to name another. */
  readonly netns: string;
  readonly netnsId?: number;
  readonly addresses: readonly Ip[];
  /**
   * Wired by another plugin, or on a separate bridge: only its addresses are known, and its device is left
   * alone.
   */
  readonly foreign?: boolean;
  /** Absent: on the bridge. */
  readonly wiring?: WiringName;
  /** On the bridge: the subnets it took its addresses from, whose first addresses are its gateways. */
  readonly subnets?: readonly Cidr[];
  /** The addresses announced one by one: from other nodes' blocks, or alone in their block. */
  readonly borrowed?: readonly Ip[];
  /** Of its own interface. Absent: unknown, in a record of an earlier version whose pod is gone. */
  readonly mac?: Mac;
  /** The bridge that its host end is a port of. */
  readonly bridge?: string;
  /** Further networks that it may send from, such as those of a virtual machine inside it. */
  readonly allowedSources?: readonly Cidr[];
  /** How much it may receive and send. */
  readonly bandwidth?: Bandwidth;
  /** The node's ports that lead to it. */
  readonly hostPorts?: readonly HostPort[];
  /** Wired by another plugin, with host ports: the node's device through which packets reach it. */
  readonly leadsVia?: string;
};

/** `namespace/name`; undefined unless the runtime named both. */
export function podName({ namespace, name }: Pick<PodIdentity, 'namespace' | 'name'>): string | undefined {
  return namespace && name ? `${namespace}/${name}` : undefined;
}

/** The display name of an attachment: its pod's name, or the container's ID when the pod is unknown. */
export function podTitle(pod: Pick<LocalPod, 'namespace' | 'name' | 'containerId'>): string {
  return podName(pod) ?? pod.containerId;
}

/** The title of a pod by what a user wrote: `NAMESPACE/NAME`, or `NAME` in the namespace default. */
export function titleNamed(text: string): string {
  return text.includes('/') ? text : `default/${text}`;
}

/**
 * Whether a pod is on our bridge, of that name: a chained plugin's pods are its own business, and so are
 * other bridges.
 */
export function isOnBridge(pod: Pick<LocalPod, 'bridge' | 'foreign' | 'wiring'>, ours: string): boolean {
  const { bridge, foreign, wiring = 'bridge' } = pod;
  return bridge === undefined ? wiring === 'bridge' && !foreign : bridge === ours;
}
