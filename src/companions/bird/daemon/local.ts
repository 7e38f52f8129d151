import { isAlive, killNow, type ProcessId, spawnDetached } from '../../../linux/process.ts';
import type { BirdFiles } from './files.ts';
import type { BirdHost, BirdPlace } from './host.ts';
import { endStrays, type Listener, otherListeners } from './others.ts';
import { runningBird } from './process.ts';
import { installedVersion } from './program.ts';

/** A BIRD beside the agent, which finds it as a process of the same machine or container. */
export class LocalBird implements BirdHost {
  readonly #files: BirdFiles;
  readonly #place: Omit<BirdPlace, 'holder'>;
  /** The one that this host has started; its file may not be there yet. */
  #started: ProcessId | undefined;

  constructor(files: BirdFiles, place: Omit<BirdPlace, 'holder'>) {
    this.#files = files;
    this.#place = place;
  }

  async runs(): Promise<boolean> {
    return this.#id !== undefined;
  }

  async start(args: readonly string[]): Promise<void> {
    const { program, netns } = this.#place;
    this.#started = await spawnDetached([program, ...args], {
      logFile: this.#files.stderr,
      env: {},
      ...(netns !== undefined && { netns }),
    });
  }

  async kill(): Promise<void> {
    const id = this.#id;
    if (id) await killNow([id]);
  }

  endOthers(): Promise<boolean> {
    return endStrays(this.#place.netns, this.#id);
  }

  otherListeners(port: number): readonly Listener[] {
    const id = this.#id;
    return id ? otherListeners(port, id) : [];
  }

  nextVersion(): Promise<string> {
    return installedVersion(this.#place.program);
  }

  get #id(): ProcessId | undefined {
    const started = this.#started && isAlive(this.#started) ? this.#started : undefined;
    return runningBird(this.#files) ?? started;
  }
}
