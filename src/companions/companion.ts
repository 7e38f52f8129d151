import type { Network } from '../cluster/network.ts';
import type { Node, Self } from '../cluster/node.ts';
import type { Resources } from '../cluster/resources.ts';
import type { Assigner } from '../ipam/assigner.ts';
import type { Log } from '../log.ts';
import type { Problem } from '../problem.ts';
import type { LinkItem } from '../state/kinds/link/item.ts';

/**
 * Answers one request of the agent's local API with an object; undefined becomes an empty one. An error it
 * throws is returned to the client.
 */
export type Handler = (
  request: Readonly<Record<string, unknown>>,
) => Promise<Readonly<Record<string, unknown>> | undefined>;
export type Handlers = Readonly<Record<string, Handler>>;

/** The handlers of some operations, given the answer of each. */
export type HandlersOf<Operations> = {
  readonly [Op in keyof Operations]: (request: Readonly<Record<string, unknown>>) => Promise<Operations[Op]>;
};

/** The current state of the cluster, available before this node's own part is. */
export type ClusterFacts = {
  readonly network: Network;
  readonly resources: Resources;
  /** Every node; this one may be among them. */
  readonly nodes: readonly Node[];
  /** This node's labels, including those of its Node resource. */
  readonly labels: Readonly<Record<string, string>>;
  /**
   * Whether the store confirms that this machine owns its node name. Only then may anything be claimed in
   * that name.
   */
  readonly isMember: boolean;
};

/** The facts whose results for this node the kernel now holds. */
export type SettledFacts<Facts = unknown> = Pick<ClusterFacts, 'network' | 'resources' | 'nodes'> & {
  readonly self: Self<Facts>;
  /** Whether those nodes are all there are, by the store: what is missing is gone. Absent: not known. */
  readonly isComplete?: boolean;
};

/**
 * What the network's backend needs on this node besides items in the kernel: a process, keys, calls to a
 * cloud. The agent starts it when the backend is configured, computes nothing before it has started, and ends
 * it some time after another backend is configured. Nothing here may throw: problems are reported in
 * `problem` and `warnings`.
 */
export interface Companion<Facts = unknown> extends AsyncDisposable {
  /**
   * Facts it provides. They become `Self.companion`, from which the backend computes this kernel's state and,
   * through `Backend.data`, what it publishes to the peers. The same object until something changes; the
   * companion then calls `changed`.
   */
  readonly facts?: Facts | undefined;
  /** Why this node can't take pods; undefined when it can. */
  readonly problem?: string | undefined;
  /**
   * What a companion that has just started still waits for, such as sessions; it must not wait for long.
   * Until then the node is not called ready, but the pods it is given start.
   */
  readonly opening?: string | undefined;
  /** Packets that it has carried and dropped, by what became of them, since it or its process started. */
  readonly counters?: Readonly<Record<string, number>>;
  /** What carries them, and why nothing better, for people. Absent: the kernel's own devices. */
  readonly carrier?: string;
  /**
   * Why peers must not hear of this node yet: what they need of it is still missing. Absent or undefined:
   * they may. Call `changed` with other `facts` when that is over. After a change of backend, the former one
   * stays for as long as a companion that has this member has a problem.
   */
  readonly withholds?: string | undefined;
  /** Problems that don't keep the node from taking pods. */
  readonly warnings?: readonly Problem[];
  /**
   * Called whenever the cluster changes, before the desired state is computed from it; `facts` must reflect
   * it on return.
   */
  learn?(cluster: ClusterFacts): void;
  /** Called whenever the kernel holds this node's own part of the desired state for these facts. */
  update?(settled: SettledFacts<Facts>): void;
  /** Called when one of our devices was created or changed. */
  deviceChanged?(link: LinkItem): void;
  /**
   * Called when the agent stops. Traffic must not be affected, so processes keep running for the next agent
   * to take over.
   */
  [Symbol.asyncDispose](): Promise<void>;
}

/** What the agent provides to a companion. */
export type CompanionContext = {
  /** This node's name. */
  readonly node: string;
  /**
   * The companion's own folders, which it creates with mode 0700. Before it starts anything that outlives the
   * agent, one of them must exist: a later agent recognizes by it that there is something to end.
   */
  readonly folders: {
    /** For sockets and the like; lost on reboot. */
    readonly run: string;
    /** Survives a reboot. */
    readonly state: string;
  };
  /** The socket of a program that runs the companion's processes where they outlive the agent's container. */
  readonly holder?: string | undefined;
  /** Whether commands of the network's configuration may be run. Default: no. */
  readonly allowExtension?: boolean | undefined;
  /** The folder of the node's secrets, `<secret>/<key>`, as Kubernetes mounts them. */
  readonly secrets: string;
  /** Assigns addresses from blocks, as for pods. */
  readonly assigner: Assigner;
  readonly log: Log;
  /** Aborts when the agent stops. */
  readonly signal: AbortSignal;
  /**
   * Reports that `facts` is a new object; everything is recomputed. Not to be called in `learn`, after which
   * `facts` is read anyway: it would call `learn` again.
   */
  readonly changed: () => void;
};

/**
 * One kind of companion. To add one, export such an object from its own file and list it in
 * `registry.ts`.
 */
export type CompanionKind<C extends Companion = Companion> = {
  /** Takes over what an earlier agent's companion left running, or starts fresh. */
  start(context: CompanionContext): C | Promise<C>;
  /**
   * Ends whatever a companion of this kind, of this agent or an earlier one, has started on this node, and
   * finally removes its folders. Called when the network has another backend or flatnet is uninstalled, after
   * the companion itself, if any, was disposed. After a crash halfway, the next call completes the work.
   */
  end(context: CompanionContext): Promise<void>;
  /**
   * The operations listed in `registry.ts`. `running` returns the companion; undefined when its backend is
   * not in use.
   */
  handlers?(running: () => C | undefined): Handlers;
};

/** How many sessions with other nodes are established, of how many expected. */
export type Sessions = {
  readonly established: number;
  readonly expected: number;
  /** The missing ones, as text. */
  readonly missing: readonly string[];
};

/** A registered kind of companion, loaded only where needed. */
export type RegisteredCompanion = {
  /** The backend's `type`. */
  readonly backend: string;
  /** Name of its folders. */
  readonly name: string;
  /** Whether a process of its own receives packets: it ends when no node sends any more. */
  readonly receives?: true;
  /** Its operations of the local API. */
  readonly operations?: readonly string[];
  readonly load: () => Promise<CompanionKind>;
  /** Throws if this machine lacks what it needs, such as a program, or has one that is too old. */
  readonly requirePrograms?: () => Promise<unknown>;
};
