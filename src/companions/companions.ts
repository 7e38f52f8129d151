import { EventEmitter } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { logFailure } from '../async/background.ts';
import { Queue } from '../async/queue.ts';
import type { Problem } from '../problem.ts';
import type { LinkItem } from '../state/kinds/link/item.ts';
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

/** The context shared by all companions, and the parents of their folders. */
export type CompanionsOptions = Omit<CompanionContext, 'changed' | 'folders'> & {
  readonly paths: CompanionContext['folders'];
};

/**
 * Runs the companion of the network's backend, and ends those of former backends. `changed` fires when
 * `facts` may have changed.
 */
export class Companions extends EventEmitter<{ changed: [] }> implements AsyncDisposable {
  readonly #options: CompanionsOptions;
  readonly #registry: readonly RegisteredCompanion[];
  readonly #queue = new Queue();
  /** By backend: the current one, and those yet to be ended. */
  readonly #running = new Map<string, Companion>();
  #backend: string | undefined;

  constructor(options: CompanionsOptions, registry: readonly RegisteredCompanion[] = COMPANIONS) {
    super();
    this.#options = options;
    this.#registry = registry;
  }

  /** Called when the agent stops; processes keep running. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const companion of this.#running.values()) await companion[Symbol.asyncDispose]();
    this.#running.clear();
  }

  /**
   * Switches to the network's backend. Resolves when its companion has started; the previous one continues
   * until `endOthers`.
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
   * Ends all companions except that of the backend in use, including those of earlier agents. Rejects when
   * one of them does not end.
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

  get opening(): string | undefined {
    return this.#current?.opening;
  }

  get warnings(): readonly Problem[] {
    return this.#current?.warnings ?? [];
  }

  learn(cluster: ClusterFacts): void {
    this.#notify('learn of the cluster', (companion) => companion.learn?.(cluster));
  }

  update(settled: SettledFacts): void {
    // They may have been computed just before the backend changed.
    if (settled.network.backend.type !== this.#backend) return;
    this.#notify('follow the facts', (companion) => companion.update?.(settled));
  }

  deviceChanged(link: LinkItem): void {
    this.#notify('follow a changed device', (companion) => companion.deviceChanged?.(link));
  }

  /** The operations of all kinds. Those of a backend that is not in use answer with an error. */
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

  /** Calls the current companion. An exception in it must not end the agent. */
  #notify(what: string, call: (companion: Companion) => void): void {
    if (!this.#current) return;
    try {
      call(this.#current);
    } catch (error) {
      logFailure(`companion of ${this.#backend}: ${what}`, error, this.#options.log);
    }
  }
}
