import type { LocalPod } from '../cluster/node.ts';
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
  /** How pods of ours are wired. Absent: on the bridge. */
  readonly wiring?: 'bridge' | 'routed';
  /**
   * Under the blocks plan, as soon as the agent knows its store: where addresses come from, instead of
   * `subnets`.
   */
  readonly assigner?: Assigner | undefined;
  /** What is known of a namespace besides its name, for pools that choose by it. */
  namespaceLabels?(namespace: string): Readonly<Record<string, string>> | undefined;
  /** The bridge pods hang on: `cni0`. It exists when `notReady()` is undefined. */
  readonly bridge: string;
  /** Masquerading is the agent's own work, so that `ipMasq` in a configuration of ours needs nothing more. */
  readonly masquerade: boolean;
  /** host-local's data folder; a network's addresses are in the subfolder of its name. */
  readonly dataDir: string;
  /** Our own records: attachments and noted DELs. */
  readonly stateDir: string;
  /** The node's network namespace, where it is not the process's own: a path. */
  readonly netns?: string;
  /** Tells the agent about a pod that came, so that its veth is part of the desired state. */
  attached(pod: LocalPod): void;
  detached(pod: LocalPod): void;
  /** Something went wrong that no caller is told of. */
  warn(text: string, error: unknown): void;
  /** Called between the steps of ADD and DEL: where a test stops the process. */
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
