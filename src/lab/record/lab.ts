import { type Network, readNetwork } from '../../cluster/network.ts';
import { FlatnetError } from '../../error.ts';
import type { ProcessId } from '../../linux/process.ts';
import { namesIn, readJson, writeJson } from './files.ts';
import { withLock } from './lock.ts';
import { labName } from './names.ts';
import { LABS, LabPaths } from './paths.ts';
import type { BgpTopology, LabNode } from './topology.ts';

/** The contents of lab.json. */
export type LabState = {
  readonly name: string;
  /**
   * `up` from the end of `up` to the start of `down`; otherwise a command is in progress or was interrupted.
   */
  readonly phase: 'starting' | 'up' | 'stopping';
  readonly created: string;
  readonly subnets: number;
  /** In the form of net-conf.json, as in the store. */
  readonly network: unknown;
  readonly nodes: readonly LabNode[];
  readonly bgp: BgpTopology;
};

export const DEFAULT_LAB = 'flatnet';

/** Environment that marks every process of a lab, whatever its namespaces. */
export function labEnvironment(lab: string): Record<string, string> {
  return { FLATNET_LAB: lab };
}

/** A lab that is up. */
export class Lab {
  readonly name: string;
  readonly paths: LabPaths;
  #state: LabState;

  private constructor(state: LabState) {
    this.name = state.name;
    this.paths = new LabPaths(state.name);
    this.#state = state;
  }

  /** Throws LAB_MISSING if the lab does not exist, and LAB_INCOMPLETE if it is incomplete. */
  static open(name: string): Lab {
    requireRoot();
    const state = readState(labName(name));
    if (state?.phase === 'up') return new Lab(state);
    if (!state && !namesIn(LABS).includes(name)) {
      const others = labNames();
      throw new FlatnetError(`there is no lab '${name}'`, {
        code: 'LAB_MISSING',
        fix: `start it: flatnet lab up${labFlag(name)}${others.length ? ` (running: ${others.join(', ')})` : ''}`,
      });
    }
    throw incomplete(name);
  }

  /** Opens the lab once no other command is changing it, and holds its lock while `work` runs. */
  static async change<T>(name: string, work: (lab: Lab) => Promise<T>): Promise<T> {
    labName(name);
    requireRoot();
    return withLock(name, () => work(Lab.open(name)));
  }

  static create(state: Omit<LabState, 'phase'>): Lab {
    const lab = new Lab({ ...state, phase: 'starting' });
    lab.update({});
    return lab;
  }

  get state(): LabState {
    return this.#state;
  }

  get nodes(): readonly LabNode[] {
    return this.#state.nodes;
  }

  get network(): Network {
    return readNetwork(this.#state.network);
  }

  update(changes: Partial<LabState>): void {
    this.#state = { ...this.#state, ...changes };
    writeJson(this.paths.state, this.#state);
  }

  /** Throws NOT_FOUND. */
  node(name: string): LabNode {
    const node = this.nodes.find((candidate) => candidate.name === name);
    if (node) return node;
    throw new FlatnetError(`there is no node '${name}'`, {
      code: 'NOT_FOUND',
      object: `lab ${this.name}`,
      fix: `it has ${this.nodes.map((each) => each.name).join(', ')}`,
    });
  }
}

export function readState(name: string): LabState | undefined {
  return readJson<LabState>(new LabPaths(name).state);
}

/** The names of all labs on this machine, complete or not. */
export function labNames(): string[] {
  return namesIn(LABS);
}

export function readProcess(path: string): ProcessId | undefined {
  return readJson<ProcessId>(path);
}

/** The option that selects this lab in a command; empty for the default lab. */
export function labFlag(lab: string): string {
  return lab === DEFAULT_LAB ? '' : ` --lab ${lab}`;
}

export function incomplete(name: string): FlatnetError {
  return new FlatnetError(`lab '${name}' is incomplete`, {
    code: 'LAB_INCOMPLETE',
    fix: `unless another command is working on it, remove it: flatnet lab down${labFlag(name)}`,
  });
}

/** Throws NOT_ROOT. */
export function requireRoot(): void {
  if (process.geteuid?.() === 0) return;
  throw new FlatnetError('a lab creates network namespaces, which requires root', {
    code: 'NOT_ROOT',
    fix: 'run this command as root, e.g. with sudo',
  });
}
