import { messageOf } from '../error.ts';
import type { Log } from '../log.ts';
import type { ClusterView } from '../store/ports/feed.ts';
import { writeView } from '../store/view-file.ts';

/** Milliseconds between writes at least: in a large cluster something changes all the time. */
const INTERVAL = 1000;

/** Keeps the newest view on disk, without writing each one. A disk that fails is reported, and is no reason to stop. */
export class ViewWriter implements AsyncDisposable {
  readonly #file: string;
  readonly #log: Log;
  #newest: ClusterView | undefined;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(file: string, log: Log) {
    this.#file = file;
    this.#log = log;
  }

  /** At once after a quiet time: what changed just before an outage must be known to an agent that starts in it. */
  write(view: ClusterView): void {
    this.#newest = view;
    if (this.#timer) return;
    this.#flush();
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (this.#newest) this.write(this.#newest);
    }, INTERVAL);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#timer);
    this.#flush();
    await this.#writing;
  }

  #flush(): void {
    const view = this.#newest;
    this.#newest = undefined;
    if (!view) return;
    this.#writing = this.#writing
      .then(() => writeView(this.#file, view))
      .catch((error: unknown) => this.#log.warn({ error: messageOf(error) }, 'the view was not written'));
  }
}
