import { EventEmitter } from 'node:events';
import { logFailure } from '../async/background.ts';
import { Queue } from '../async/queue.ts';
import type { LinkItem } from '../state/kinds/link.ts';
import type {
  ClusterFacts,
  Companion,
  CompanionContext,
  CompanionKind,
  Handlers,
  SettledFacts,
} from './companion.ts';
import { COMPANIONS } from './registry.ts';

/**
 * The companion of the network's backend, and those that backends before it left. `changed`: `facts` may be others now.
 */
export class Companions extends EventEmitter<{ changed: [] }> implements AsyncDisposable {
  readonly #context: CompanionContext;
  readonly #kinds: readonly CompanionKind[];
  readonly #queue = new Queue();
  /** By backend: the current one, and those that are still to end. */
  readonly #running = new Map<string, Companion>();
  #backend: string | undefined;

  constructor(context: Omit<CompanionContext, 'changed'>, kinds: readonly CompanionKind[] = COMPANIONS) {
    super();
    this.#context = { ...context, changed: () => this.emit('changed') };
    this.#kinds = kinds;
  }

  /** The agent stops; what runs runs on. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const companion of this.#running.values()) await companion[Symbol.asyncDispose]();
    this.#running.clear();
  }

  /**
   * The network has this backend now. Resolves when its companion is there; the one before it goes on as it is until `endOthers`.
   */
  use(backend: string): Promise<void> {
    return this.#queue.run(async () => {
      const kind = this.#kinds.find((each) => each.backend === backend);
      if (kind && !this.#running.has(backend)) this.#running.set(backend, await kind.start(this.#context));
      this.#backend = backend;
    });
  }

  /** Ends all companions but that of the backend in use, those of earlier agents too. Rejects when one of them does not end. */
  endOthers(): Promise<void> {
    return this.#queue.run(async () => {
      for (const kind of this.#kinds) {
        if (kind.backend === this.#backend) continue;
        await this.#running.get(kind.backend)?.[Symbol.asyncDispose]();
        this.#running.delete(kind.backend);
        await kind.end(this.#context);
      }
    });
  }

  get facts(): unknown {
    return this.#current?.facts;
  }

  get problem(): string | undefined {
    return this.#current?.problem;
  }

  get warnings(): readonly string[] {
    return this.#current?.warnings ?? [];
  }

  learn(cluster: ClusterFacts): void {
    this.#tell('learn of the cluster', (companion) => companion.learn?.(cluster));
  }

  update(settled: SettledFacts): void {
    // They may have been computed just before the network got another backend.
    if (settled.network.backend.type !== this.#backend) return;
    this.#tell('follow the facts', (companion) => companion.update?.(settled));
  }

  deviceMade(link: LinkItem): void {
    this.#tell('follow a new device', (companion) => companion.deviceMade?.(link));
  }

  /** The operations of all kinds: those of a backend that is not in use say so. */
  get handlers(): Handlers {
    const all = this.#kinds.map((kind) =>
      kind.handlers?.(() => (kind.backend === this.#backend ? this.#current : undefined)),
    );
    return Object.assign({}, ...all);
  }

  get #current(): Companion | undefined {
    return this.#backend === undefined ? undefined : this.#running.get(this.#backend);
  }

  /** A companion's fault must not end the agent. */
  #tell(what: string, call: (companion: Companion) => void): void {
    if (!this.#current) return;
    try {
      call(this.#current);
    } catch (error) {
      logFailure(`companion of ${this.#backend}: ${what}`, error, this.#context.log);
    }
  }
}
