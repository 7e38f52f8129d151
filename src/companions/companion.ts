import type { Network } from '../cluster/network.ts';
import type { Node, Self } from '../cluster/node.ts';
import type { Resources } from '../cluster/resources.ts';
import type { Assigner } from '../ipam/assigner.ts';
import type { Log } from '../log.ts';
import type { LinkItem } from '../state/kinds/link.ts';

/** Answers one request of the agent's local API; what it throws becomes the error the client gets. */
export type Handler = (request: Readonly<Record<string, unknown>>) => Promise<unknown>;
export type Handlers = Readonly<Record<string, Handler>>;

/** What the cluster looks like now, known before this node's own part is. */
export type ClusterFacts = {
  readonly network: Network;
  readonly resources: Resources;
  /** Every node; this one may be among them. */
  readonly nodes: readonly Node[];
  /** This node's labels, those of its Node resource included. */
  readonly labels: Readonly<Record<string, string>>;
  /**
   * Whether the store confirms that this machine is the node of its name: only then may anything be taken in
   * that name.
   */
  readonly isMember: boolean;
};

/** What the kernel now holds this node's own part of. */
export type SettledFacts<Facts = unknown> = Pick<ClusterFacts, 'network' | 'resources' | 'nodes'> & {
  readonly self: Self<Facts>;
};

/**
 * What the network's backend needs on this node besides items in the kernel: a process, keys, calls to a
 * cloud. The agent starts it when the backend is configured, ends it some time after another one is, and
 * computes nothing before it stands. Nothing here may throw: what is wrong is told by `problem` and
 * `warnings`.
 */
export interface Companion<Facts = unknown> extends AsyncDisposable {
  /**
   * What it found out or made. Becomes `Self.companion`, and so part of what the backend computes for this
   * kernel and, by `Backend.data`, publishes to the peers. The same object as long as nothing changed; after
   * a change it calls `changed`.
   */
  readonly facts?: Facts | undefined;
  /** Why this node can't take pods; undefined when it can. */
  readonly problem?: string | undefined;
  /** What is wrong without keeping the node from taking pods, for people. */
  readonly warnings?: readonly string[];
  /**
   * Whenever any of it changed, before the desired state is computed from it: `facts` already says what
   * follows.
   */
  learn?(cluster: ClusterFacts): void;
  /** Whenever the kernel holds this node's own part as it follows from these facts. */
  update?(settled: SettledFacts<Facts>): void;
  /** The kernel made a device of ours, or changed it. */
  deviceMade?(link: LinkItem): void;
  /** The agent stops: packets must not notice, so whatever runs runs on, for the next agent to take over. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** What a companion gets of its agent. */
export type CompanionContext = {
  /** This node's name. */
  readonly node: string;
  /**
   * Folders of its own, which it makes, with mode 0700. Before it starts anything that outlives the agent
   * there must be something in one of them: by that a later agent knows that there is something to end.
   */
  readonly folders: {
    /** For sockets and the like: gone after a reboot. */
    readonly run: string;
    /** Survives a reboot. */
    readonly state: string;
  };
  /** Where the node's secrets are, `<secret>/<key>`, as Kubernetes mounts them. */
  readonly secrets: string;
  /** Addresses of the blocks plan, as pods get theirs. */
  readonly assigner: Assigner;
  readonly log: Log;
  /** Aborts when the agent stops. */
  readonly signal: AbortSignal;
  /** `facts` is another object now: everything is computed anew. */
  readonly changed: () => void;
};

/**
 * One kind of companion. To add one, write a file that exports such an object and name it in `registry.ts`.
 */
export type CompanionKind<C extends Companion = Companion> = {
  /** Takes over what an earlier agent's companion left running, or starts anew. */
  start(context: CompanionContext): C | Promise<C>;
  /**
   * Ends whatever a companion of this kind has started on this node, of this agent or one before, and removes
   * its folders at last: the network has another backend, or flatnet is uninstalled. The companion itself, if
   * there was one, is disposed of already. After a crash half-way the next call does the rest.
   */
  end(context: CompanionContext): Promise<void>;
  /**
   * The operations that `registry.ts` names. `running`: the companion, on a node whose backend it belongs to.
   */
  handlers?(running: () => C | undefined): Handlers;
};

/** A kind of companion, which is loaded only where it is needed. */
export type RegisteredCompanion = {
  /** The backend's `type`. */
  readonly backend: string;
  /** Of its folders. */
  readonly name: string;
  /** Of the local API. */
  readonly operations?: readonly string[];
  readonly load: () => Promise<CompanionKind>;
};
