import type { Listener } from './others.ts';

/** The process of a node's BIRD, wherever it runs. */
export interface BirdHost {
  runs(): Promise<boolean>;
  /**
   * Starts BIRD with these arguments; it outlives this process. Throws BIRD or NOT_FOUND when it cannot be
   * run.
   */
  start(args: readonly string[]): Promise<void>;
  /** Ends BIRD without a farewell: its peers keep this node's routes, and so does the kernel. */
  kill(): Promise<void>;
  /** Ends all other BIRDs that agents have started in its network namespace. Returns whether it had to. */
  endOthers(): Promise<boolean>;
  /** The other programs that listen on BGP's port, as far as they can be seen. */
  otherListeners(port: number): readonly Listener[];
  /** The version that the next start would run; undefined if only its own host knows that. */
  nextVersion(): Promise<string | undefined>;
}

export type BirdPlace = {
  /** BIRD, as a path or a name in PATH. */
  readonly program: string;
  /** Path of the network namespace to run it in; default: our own. */
  readonly netns?: string | undefined;
  /** The socket of the `bird-holder` that runs it instead of this process. */
  readonly holder?: string | undefined;
};
