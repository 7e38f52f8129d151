import type { MonitorEvent } from '../../src/linux/event.ts';
import { Monitor } from '../../src/linux/monitor.ts';

/** Watches the kernel of a namespace from outside. */
export class Watch implements Disposable {
  readonly #stopping = new AbortController();
  readonly #monitor: Monitor;

  constructor(netns: string, objects: readonly ('route' | 'neighbour')[] = ['route', 'neighbour']) {
    this.#monitor = Monitor.open({
      netns,
      signal: this.#stopping.signal,
      objects,
    });
  }

  /** Resolves with the time at which `count` matching events have been seen. */
  async count(
    wanted: (event: Exclude<MonitorEvent, { type: 'miss' | 'overflow' }>) => boolean,
    count: number,
  ) {
    let seen = 0;
    let at: number | undefined;
    await this.#monitor.run((event) => {
      if (event.type === 'overflow') throw new Error('the kernel dropped notifications');
      if (event.type === 'miss' || !wanted(event) || ++seen < count) return;
      at = performance.now();
      this.#stopping.abort();
    });
    if (at === undefined) throw new Error('the watch ended');
    return at;
  }

  [Symbol.dispose](): void {
    this.#stopping.abort();
  }
}
