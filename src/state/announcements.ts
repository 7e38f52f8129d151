import { background } from '../async/background.ts';
import { pause } from '../async/pause.ts';
import type { Log } from '../log.ts';
import type { Change } from './item.ts';
import { isReaddressed } from './kinds/link/link.ts';

/** Milliseconds. Neighbours may ignore an announcement within a second of another (the kernel's locktime). */
const AGAIN = 1000;

/** Repeats what the kernel announces to the pods: a bridge's new MAC. */
export class Announcements implements Disposable {
  readonly #announce: (bridge: string) => Promise<unknown>;
  readonly #log: Log;
  readonly #closing = new AbortController();

  /** `announce` takes the name of a bridge. */
  constructor(announce: (bridge: string) => Promise<unknown>, log: Log) {
    this.#announce = announce;
    this.#log = log;
  }

  /** Announces the new MACs that these changes gave to bridges once more, a little later. */
  repeat(done: readonly Change[]): void {
    const bridges = new Set(done.filter(isReaddressed).flatMap(bridgeOf));
    for (const name of bridges) background('announce a MAC', this.#later(name), this.#log);
  }

  [Symbol.dispose](): void {
    this.#closing.abort();
  }

  async #later(bridge: string): Promise<void> {
    const { signal } = this.#closing;
    if (signal.aborted || !(await pause(AGAIN, signal))) return;
    await this.#announce(bridge);
  }
}

function bridgeOf({ item }: Change): string[] {
  return item.kind === 'link' && item.link.type === 'bridge' ? [item.name] : [];
}
