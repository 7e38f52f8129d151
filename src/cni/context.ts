import type { LocalPod, PerFamily } from '../cluster/node.ts';
import type { OwnPort } from '../cluster/own-port.ts';
import type { Parent } from '../cluster/parent.ts';
import type { Physical } from '../cluster/physical.ts';
import type { WiringName } from '../cluster/wiring.ts';
import type { Leases } from '../dhcp/leases.ts';
import type { Ip } from '../ip/address.ts';
import type { Cidr } from '../ip/cidr.ts';
import type { Assigner } from '../ipam/assigner.ts';

/** What the CNI verbs need from the agent. */
export type CniContext = {
  /**
   * Why an ADD cannot be served now (no lease yet, devices not up), or undefined. STATUS reports it as code
   * 50.
   */
  notReady(): string | undefined;
  /** This node's subnets: the source of addresses when the configuration names no ranges. */
  readonly subnets: readonly Cidr[];
  /** The cluster's networks: routes given to pods, and destinations that are not masqueraded. */
  readonly networks: readonly Cidr[];
  /** Why a pod may not send from a network besides its own addresses, or undefined if it may. */
  refusesSource(cidr: Cidr): string | undefined;
  /** Pod MTU in bytes. */
  readonly mtu: number;
  /** How our own pods are connected; default: to the bridge. */
  readonly wiring?: WiringName;
  /** Where our own pods are on a physical network: what they need to know of it. */
  readonly physical?: PhysicalNetwork | undefined;
  /** Under the `blocks` plan, once the agent has its store: the source of addresses instead of `subnets`. */
  readonly assigner?: Assigner | undefined;
  /** The leases of pods that have their addresses from DHCP. */
  readonly leases?: Leases;
  /** Labels of a namespace, for pools that select by them. */
  namespaceLabels?(namespace: string): Readonly<Record<string, string>> | undefined;
  /** The pods' bridge: `cni0`. It exists when `notReady()` is undefined. */
  readonly bridge: string;
  /** Whether the agent masquerades, so that `ipMasq` in our own configuration needs no further action. */
  readonly masquerade: boolean;
  /** The node's ports that no host port may take. */
  readonly ownPorts?: readonly OwnPort[];
  /** host-local's data directory; a network's addresses are in the subdirectory with its name. */
  readonly dataDir: string;
  /** Our own records: attachments and noted DELs. */
  readonly stateDir: string;
  /** Path of the node's network namespace, unless it is the process's own. */
  readonly netns?: string;
  /** Notifies the agent of a new pod, whose veth is part of the desired state from then on. */
  attached(pod: LocalPod): void;
  /**
   * Resolves to undefined once the kernel holds what constrains an attached pod, whose processes start as
   * soon as the ADD is answered; otherwise to the reason, for people.
   */
  admit?(pod: LocalPod): Promise<string | undefined>;
  detached(pod: LocalPod): void;
  /**
   * Resolves once the host ports of a detached pod lead to it no longer, not even for UDP flows that are
   * tracked: its addresses are another pod's next.
   */
  released?(pod: LocalPod): Promise<void>;
  /** Logs a failure that no caller receives. */
  warn(text: string, error: unknown): void;
  /** Called between the steps of ADD and DEL, so that tests can kill the process there. */
  step?(name: string): void;
};

/** A physical network, as a pod on it sees it. */
export type PhysicalNetwork = {
  readonly config: Physical;
  /** Whether addresses come from its DHCP server, not from this node's subnets. */
  readonly hasDhcp: boolean;
  /** All of it: what is on-link for pods. */
  readonly networks: PerFamily<Cidr>;
  /** The node's addresses, which pods reach by the shim. */
  readonly node: PerFamily<Ip>;
  /** The interface to share. Throws CONFIG_INVALID if it cannot be shared. */
  parent(): Parent;
};

/** The shim's request over the agent's socket, one JSON line. */
export type CniRequest = {
  readonly op: 'cni';
  /** The CNI_* variables. */
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: string;
};

/** The agent's reply, one JSON line: the shim's output and exit status. */
export type CniReply = {
  readonly stdout: string;
  readonly exit: number;
};
