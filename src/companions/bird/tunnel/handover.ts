/**
 * Milliseconds, from when this node is ready to receive, within which the slowest node is too: its agent
 * hears of the pool, its kernel loads the device's module.
 */
const PREPARE = 5000;
/**
 * Milliseconds within which every node stops sending: its agent hears of the pool, or is just restarting, and
 * BIRD follows.
 */
const LINGER = 30_000;

/**
 * Make before break, where nodes cannot change all at once. When pools begin to ask for IPIP, a node receives
 * at once and sends some time later; when the last one stops asking, it stops sending at once and receives
 * for some time yet.
 */
export class TunnelHandover implements Disposable {
  readonly #onEnd: () => void;
  #found = false;
  #wanted: boolean | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(onEnd: () => void) {
    this.#onEnd = onEnd;
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /**
   * An earlier agent left the tunnel. Nobody knows how long ago the pools stopped asking for it, if they did.
   */
  found(): void {
    this.#found = true;
  }

  /**
   * Whether the pools ask for it, as known now. What they did before this agent knew of them, every node has
   * followed already. `inUse`: there are blocks. In a new cluster there is nothing to lose, and its first
   * pool need not wait.
   */
  setWanted(wanted: boolean, inUse = true): void {
    if (wanted === this.#wanted) return;
    const isLive = this.#wanted === undefined ? this.#found && !wanted : inUse || !wanted;
    this.#wanted = wanted;
    this[Symbol.dispose]();
    if (!isLive) return;
    this.#wait(wanted ? PREPARE : LINGER);
  }

  /** The kernel has made the device. If that took long here, it may take as long elsewhere. */
  made(): void {
    if (this.#wanted && this.onlyReceives) this.#wait(PREPARE);
  }

  /** The device is there for what peers send, and no route leads into it. */
  get onlyReceives(): boolean {
    return this.#timer !== undefined;
  }

  /**
   * Whether all that is there must stay: nobody has said yet what the pools ask for, or some node may still
   * send.
   */
  get stays(): boolean {
    return this.#wanted === undefined || (this.onlyReceives && !this.#wanted);
  }

  #wait(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#onEnd();
    }, ms);
    this.#timer.unref();
  }
}
