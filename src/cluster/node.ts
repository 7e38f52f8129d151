import type { Family, Ip } from '../ip/address.ts';
import type { Cidr } from '../ip/cidr.ts';
import type { WiringName } from './wiring.ts';

/** What each family has of something; a family the cluster does not use is absent. */
export type PerFamily<T> = { readonly [F in Family]?: T };

/** What `of` says of each family; undefined leaves it out. */
export function perFamily<T>(of: (family: Family) => T | undefined): PerFamily<T> {
  const [v4, v6] = [of(4), of(6)];
  return { ...(v4 !== undefined && { 4: v4 }), ...(v6 !== undefined && { 6: v6 }) };
}

/**
 * A node owns blocks of pod addresses and says how to reach them. flannel's lease is a node with one subnet a
 * family; Calico's node has several blocks.
 */
export type Node = {
  /** DNS label, unique in the cluster; the public address where only a flannel lease is known. */
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Where peers send packets for this node: flannel's PublicIP and PublicIPv6. */
  readonly addresses: PerFamily<Ip>;
  readonly subnets: readonly Cidr[];
  readonly backend: {
    /** A backend's `type`, e.g. `vxlan`. */
    readonly type: string;
    /**
     * What that backend publishes for its peers: flannel's BackendData and BackendV6Data, decoded from JSON.
     */
    readonly data: PerFamily<unknown>;
  };
};

/** What a node says of itself, whatever its subnets. */
export type NodeFacts = Omit<Node, 'subnets'>;

/** This node as its own agent sees it: what it publishes, and what only it knows. */
export type Self<CompanionFacts = unknown> = {
  readonly node: Node;
  readonly underlay: Underlay;
  /** What the backend's companion found out or made (`companions/`), in a type of the backend's own. */
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
  /** The networks on the interface: a peer inside one of them is on-link, reachable without a gateway. */
  readonly onLink: readonly Cidr[];
};

/** Which pod an interface belongs to, as far as the container runtime said. */
export type PodIdentity = {
  readonly namespace?: string;
  readonly name?: string;
  /** Empty where the runtime named none. */
  readonly labels: Readonly<Record<string, string>>;
};

/** A pod that hangs on this node, as the CNI path recorded it. */
export type LocalPod = PodIdentity & {
  readonly containerId: string;
  readonly ifName: string;
  /** The host end of its veth. */
  readonly hostDevice: string;
  readonly netns: string;
  readonly addresses: readonly Ip[];
  /** Wired by another plugin, or on a bridge of its own: known by its addresses, its device is left alone. */
  readonly foreign?: boolean;
  /** Absent: on the bridge. */
  readonly wiring?: WiringName;
  /** Those of its addresses that are of other nodes' blocks. */
  readonly borrowed?: readonly Ip[];
};

/** `namespace/name`; undefined unless the runtime named both. */
export function podName({ namespace, name }: Pick<PodIdentity, 'namespace' | 'name'>): string | undefined {
  return namespace && name ? `${namespace}/${name}` : undefined;
}

/** What people call an attachment: its pod's name, or the container's ID where the pod is unknown. */
export function podTitle(pod: Pick<LocalPod, 'namespace' | 'name' | 'containerId'>): string {
  return podName(pod) ?? pod.containerId;
}
