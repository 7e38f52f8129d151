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
   * Starts those of former backends whose processes still receive packets, as far as they do not run: after a
   * restart of the agent.
   */
  resume(backends: readonly string[]): Promise<void> {
    return this.#queue.run(async () => {
      for (const registered of this.#registry) {
        const { backend, receives, load } = registered;
        if (!receives || !backends.includes(backend) || this.#running.has(backend)) continue;
        this.#running.set(backend, await (await load()).start(this.#contextOf(registered)));
      }
    });
  }

  /**
   * Ends all companions except that of the backend in use, including those of earlier agents.
   * `keepReceivers`: except those, too, whose processes receive packets. Rejects when one of them does not
   * end.
   */
  endOthers({ keepReceivers = false } = {}): Promise<void> {
    return this.#queue.run(async () => {
      for (const registered of this.#registry) {
        if (registered.backend === this.#backend || (keepReceivers && registered.receives)) continue;
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

  get withholds(): string | undefined {
    return this.#current?.withholds;
  }

  /**
   * Why a former backend must stay: the current one's companion withholds nodes, and has a problem. Others'
   * come and go, as when a process restarts, and the former backend must not stay here for longer than peers
   * expect.
   */
  get unready(): string | undefined {
    return this.#current && 'withholds' in this.#current ? this.#current.problem : undefined;
  }

  get warnings(): readonly Problem[] {
    return this.#current?.warnings ?? [];
  }

  get counters(): Readonly<Record<string, number>> | undefined {
    return this.#current?.counters;
  }

  get carrier(): string | undefined {
    return this.#current?.carrier;
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
