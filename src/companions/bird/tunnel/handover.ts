/**
 * Time the slowest node needs to become ready to receive after this one, in milliseconds: its agent learns of
 * the pool, its kernel loads the device's module.
 */
const PREPARE = 5000;
/**
 * Time within which every node stops sending, in milliseconds: its agent, possibly just restarting, learns of
 * the pool, and BIRD follows.
 */
const LINGER = 30_000;

/**
 * Make before break for the tunnel, because nodes do not change at the same moment. When a pool starts to
 * require IPIP, a node receives at once and sends later; when none requires it any more, the node stops
 * sending at once and keeps receiving for a while.
 */
export class TunnelHandover implements Disposable {
  readonly #onEnd: () => void;
  #adopted = false;
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
   * Takes over the tunnel of an earlier agent. When the pools stopped requiring it, if they did, is unknown.
   */
  adopt(): void {
    this.#adopted = true;
  }

  /**
   * Sets whether the pools require the tunnel. Changes made before this agent's first call have reached every
   * node already. `inUse`: there are blocks; without any, in a new cluster, no packets can be lost and the
   * first pool need not wait.
   */
  setWanted(wanted: boolean, inUse = true): void {
    if (wanted === this.#wanted) return;
    const isLive = this.#wanted === undefined ? this.#adopted && !wanted : inUse || !wanted;
    this.#wanted = wanted;
    this[Symbol.dispose]();
    if (!isLive) return;
    this.#wait(wanted ? PREPARE : LINGER);
  }

  /** Called when the kernel has created the device. If that took long here, it may take as long elsewhere. */
  deviceCreated(): void {
    if (this.#wanted && this.onlyReceives) this.#wait(PREPARE);
  }

  /** Whether the device exists only for packets from peers, and no route leads into it. */
  get onlyReceives(): boolean {
    return this.#timer !== undefined;
  }

  /** Whether the tunnel must stay as it is: the pools are not known yet, or some node may still send. */
  get mustStay(): boolean {
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
