import { type Network, readNetwork } from '../../cluster/network.ts';
import { FlatnetError } from '../../error.ts';
import type { ProcessId } from '../../linux/process.ts';
import { namesIn, readJson, writeJson } from './files.ts';
import { withLock } from './lock.ts';
import { labName } from './names.ts';
import { LABS, LabPaths } from './paths.ts';
import type { BgpTopology, LabNode } from './topology.ts';

/** What lab.json holds. */
export type LabState = {
  readonly name: string;
  /**
   * `up` from the end of `up` to the start of `down`; anything else is a command under way, or one that was
   * cut short.
   */
  readonly phase: 'starting' | 'up' | 'stopping';
  readonly created: string;
  readonly subnets: number;
  /** As net-conf.json, which is what the store holds. */
  readonly network: unknown;
  readonly nodes: readonly LabNode[];
  readonly bgp: BgpTopology;
};

export const DEFAULT_LAB = 'flatnet';

/** Marks every process of a lab, wherever it goes. */
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

  /** Throws LAB_MISSING if there is no such lab, and LAB_INCOMPLETE if it is half made or half torn down. */
  static open(name: string): Lab {
    requireRoot();
    const state = readState(labName(name));
    if (state?.phase === 'up') return new Lab(state);
    if (!state && !namesIn(LABS).includes(name)) {
      const others = labNames();
      throw new FlatnetError(`there is no lab '${name}'`, {
        code: 'LAB_MISSING',
        fix: `start it: flatnet lab up${nameOption(name)}${others.length ? ` (running: ${others.join(', ')})` : ''}`,
      });
    }
    throw incomplete(name);
  }

  /** Opens the lab once no other command is changing it, and keeps others out while `work` runs. */
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

/** Every lab on this machine, complete or not. */
export function labNames(): string[] {
  return namesIn(LABS);
}

export function readProcess(path: string): ProcessId | undefined {
  return readJson<ProcessId>(path);
}

/** The option that selects this lab in a command; empty for the default lab. */
export function nameOption(lab: string): string {
  return lab === DEFAULT_LAB ? '' : ` --name ${lab}`;
}

export function incomplete(name: string): FlatnetError {
  return new FlatnetError(`lab '${name}' is half made or half torn down`, {
    code: 'LAB_INCOMPLETE',
    fix: `unless another command is working on it, remove what is left: flatnet lab down${nameOption(name)}`,
  });
}

/** Throws NOT_ROOT. */
export function requireRoot(): void {
  if (process.geteuid?.() === 0) return;
  throw new FlatnetError('a lab makes network namespaces, which takes root', {
    code: 'NOT_ROOT',
    fix: 'run it as root: sudo flatnet lab …',
  });
}
