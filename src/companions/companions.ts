import { EventEmitter } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { logFailure } from '../async/background.ts';
import { Queue } from '../async/queue.ts';
import type { LinkItem } from '../state/kinds/link.ts';
import type {
  ClusterFacts,
  Companion,
  CompanionContext,
  Handler,
  Handlers,
  RegisteredCompanion,
  SettledFacts,
} from './companion.ts';
import { COMPANIONS } from './registry.ts';

/** What all companions get, and where their folders are. */
export type CompanionsOptions = Omit<CompanionContext, 'changed' | 'folders'> & {
  readonly paths: CompanionContext['folders'];
};

/**
 * The companion of the network's backend, and those that backends before it left. `changed`: `facts` may be
 * others now.
 */
export class Companions extends EventEmitter<{ changed: [] }> implements AsyncDisposable {
  readonly #options: CompanionsOptions;
  readonly #registry: readonly RegisteredCompanion[];
  readonly #queue = new Queue();
  /** By backend: the current one, and those that are still to end. */
  readonly #running = new Map<string, Companion>();
  #backend: string | undefined;

  constructor(options: CompanionsOptions, registry: readonly RegisteredCompanion[] = COMPANIONS) {
    super();
    this.#options = options;
    this.#registry = registry;
  }

  /** The agent stops; what runs runs on. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const companion of this.#running.values()) await companion[Symbol.asyncDispose]();
    this.#running.clear();
  }

  /**
   * The network has this backend now. Resolves when its companion is there; the one before it goes on as it
   * is until `endOthers`.
   */
  use(backend: string): Promise<void> {
    return this.#queue.run(async () => {
      const registered = this.#registry.find((each) => each.backend === backend);
      if (registered && !this.#running.has(backend)) {
        const kind = await registered.load();
        this.#running.set(backend, await kind.start(this.#contextOf(registered)));
      }
      this.#backend = backend;
    });
  }

  /**
   * Ends all companions but that of the backend in use, those of earlier agents too. Rejects when one of them
   * does not end.
   */
  endOthers(): Promise<void> {
    return this.#queue.run(async () => {
      for (const registered of this.#registry) {
        if (registered.backend === this.#backend) continue;
        await this.#running.get(registered.backend)?.[Symbol.asyncDispose]();
        this.#running.delete(registered.backend);
        const context = this.#contextOf(registered);
        if (!Object.values(context.folders).some((folder) => existsSync(folder))) continue;
        await (await registered.load()).end(context);
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
    const all = this.#registry.flatMap((registered) =>
      (registered.operations ?? []).map((name) => [name, this.#handler(registered, name)] as const),
    );
    return Object.fromEntries(all);
  }

  #handler({ backend, load }: RegisteredCompanion, name: string): Handler {
    return async (request) => {
      const kind = await load();
      const handlers = kind.handlers?.(() => (backend === this.#backend ? this.#current : undefined));
      return handlers?.[name]?.(request);
    };
  }

  #contextOf({ name }: RegisteredCompanion): CompanionContext {
    const { paths, ...options } = this.#options;
    return {
      ...options,
      folders: { run: join(paths.run, name), state: join(paths.state, name) },
      changed: () => this.emit('changed'),
    };
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
      logFailure(`companion of ${this.#backend}: ${what}`, error, this.#options.log);
    }
  }
}
