import type { LocalPod } from '../cluster/node.ts';
import type { WiringName } from '../cluster/wiring.ts';
import type { Cidr } from '../ip/cidr.ts';
import type { Assigner } from '../ipam/assigner.ts';

/** What the CNI verbs need of the agent. */
export type CniContext = {
  /**
   * Why an ADD can't be served now (no lease yet, devices not up), or undefined. STATUS reports it as code
   * 50.
   */
  notReady(): string | undefined;
  /** This node's subnets: where addresses come from when the configuration names no ranges. */
  readonly subnets: readonly Cidr[];
  /** The cluster's networks: routes given to pods, and destinations that are not masqueraded. */
  readonly networks: readonly Cidr[];
  /** Pod MTU in bytes. */
  readonly mtu: number;
  /** How our own pods are connected. Absent: on the bridge. */
  readonly wiring?: WiringName;
  /**
   * Under the blocks plan, once the agent knows its store: where addresses come from instead of `subnets`.
   */
  readonly assigner?: Assigner | undefined;
  /** Labels of a namespace besides its name, for pools that select by them. */
  namespaceLabels?(namespace: string): Readonly<Record<string, string>> | undefined;
  /** The bridge pods hang on: `cni0`. It exists when `notReady()` is undefined. */
  readonly bridge: string;
  /** The agent masquerades, so `ipMasq` in our own configuration needs nothing more. */
  readonly masquerade: boolean;
  /** host-local's data folder; a network's addresses are in the subfolder of its name. */
  readonly dataDir: string;
  /** Our own records: attachments and noted DELs. */
  readonly stateDir: string;
  /** Path of the node's network namespace, unless it is the process's own. */
  readonly netns?: string;
  /** Tells the agent about a new pod, whose veth is part of the desired state from then on. */
  attached(pod: LocalPod): void;
  detached(pod: LocalPod): void;
  /** Reports a failure that no caller hears of. */
  warn(text: string, error: unknown): void;
  /** Called between the steps of ADD and DEL, so that tests can kill the process there. */
  step?(name: string): void;
};

/** What the shim sends over the agent's socket, one JSON line. */
export type CniRequest = {
  readonly op: 'cni';
  /** The CNI_* variables. */
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: string;
};

/** What the agent answers, one JSON line: what the shim prints and its exit status. */
export type CniReply = {
  readonly stdout: string;
  readonly exit: number;
};
