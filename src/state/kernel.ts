import { keepUp } from '../async/keep-up.ts';
import { messageOf } from '../error.ts';
import type { Log } from '../log.ts';
import type { Problem } from '../problem.ts';
import type { Devices } from './devices.ts';
import type { Watch } from './executors/executor.ts';
import { type ExecutorOptions, openExecutors } from './executors/registry.ts';
import {
  type Change,
  deviceOf,
  devicesOf,
  type Item,
  type KernelState,
  keyOf,
  kindOf,
  parentOf,
} from './item.ts';
import { blockedBy } from './order.ts';

/** Up to this many devices are read individually; beyond that, all at once. */
const FEW_DEVICES = 16;

export type Failure = { readonly change: Change; readonly error: Error };
export type Waiting = { readonly change: Change; readonly reason: string };

/** The outcome of some changes. `waiting`: not attempted, as the device they need is absent or down. */
export type Outcome = {
  readonly done: readonly Change[];
  readonly failed: readonly Failure[];
  readonly waiting: readonly Waiting[];
};

/** The kernel of one network namespace, read and changed as items by executors. */
export class Kernel implements Disposable {
  readonly #executors: ReturnType<typeof openExecutors>;
  /** What each executor's part of the kernel holds, as far as is known. */
  readonly #held = new Map<string, Map<string, Item>>();
  /** Why the last attempt to read an executor's part failed. */
  readonly #unread = new Map<string, string>();
  /** Why an executor does not listen. */
  readonly #deaf = new Map<string, string>();

  /** Throws SYSCALL, or NOT_FOUND if the namespace does not exist. */
  constructor(options: ExecutorOptions = {}) {
    this.#executors = openExecutors(options);
  }

  /** As last read. */
  get devices(): Devices {
    return this.#executors.rtnetlink.devices;
  }

  /** Whether part of the last read failed, so that what was known of it before had to do. */
  get isOutdated(): boolean {
    return this.#unread.size > 0;
  }

  /** Why part of the kernel has never been read, so that nothing is known of it; undefined if all has. */
  get unknown(): string | undefined {
    const name = [...this.#unread.keys()].find((each) => !this.#held.has(each));
    return name === undefined ? undefined : `${name} cannot be read: ${this.#unread.get(name)}`;
  }

  /** What keeps it from seeing the kernel as it is. */
  get troubles(): readonly Problem[] {
    const unread = [...this.#unread].map(([name, cause]): Problem => {
      const what = `${name} cannot be read: trying again, with what was last read`;
      return { id: 'kernel-unreadable', severity: 'warning', what, cause };
    });
    const deaf = [...this.#deaf].map(([name, cause]): Problem => {
      const what = `no notifications of ${name}: listening again soon; meanwhile, changes by others are found late`;
      return { id: 'kernel-notifications-lost', severity: 'warning', what, cause };
    });
    return [...unread, ...deaf];
  }

  /**
   * Reads the desired items that the kernel holds, and any others of ours. Where an executor cannot read,
   * what it read last has to do; the others' parts do not depend on it. Rejects only if rtnetlink cannot be
   * read.
   */
  async read(desired: KernelState): Promise<KernelState> {
    const state = new Map<string, Item>();
    for (const [name, executor] of Object.entries(this.#executors)) {
      try {
        this.#held.set(name, byKey(await executor.read(desired)));
        this.#unread.delete(name);
      } catch (error) {
        if (executor === this.#executors.rtnetlink) throw error;
        this.#unread.set(name, messageOf(error));
      }
      // Of what is unknown, nothing is changed.
      const held = this.#held.get(name) ?? [...desired].filter(([, item]) => kindOf(item).executor === name);
      for (const [key, item] of held) state.set(key, item);
    }
    return state;
  }

  /** Reads individual items; undefined for one that does not exist or can't be read individually. */
  async find(items: readonly Item[]): Promise<readonly (Item | undefined)[]> {
    const found = new Map<Item, Item | undefined>();
    for (const [name, executor] of Object.entries(this.#executors)) {
      const own = items.filter((item) => kindOf(item).executor === name);
      const present = own.length === 0 ? [] : await executor.find(own);
      for (const [i, item] of own.entries()) found.set(item, present[i]);
    }
    return items.map((item) => found.get(item));
  }

  /** Makes the changes, stage by stage. A failure does not stop the rest. */
  async apply(stages: readonly (readonly Change[])[]): Promise<Outcome> {
    const outcome = { done: [] as Change[], failed: [] as Failure[], waiting: [] as Waiting[] };
    /** Keys of items that have to wait; a foreign device of that name may exist. */
    const withheld = new Set<string>();
    /**
     * Keys of items with a failed or waiting change: a device that was not created is not set up either, and
     * only the first reason is reported.
     */
    const undone = new Set<string>();
    const all = stages.flat();
    if (all.some(isOfDevice)) await this.#refreshDevices(all);
    for (const stage of stages) {
      const ready: Change[] = [];
      for (const change of stage) {
        const key = keyOf(change.item);
        if (undone.has(key) || this.#isGone(change)) continue;
        const parent = parentOf(change.item);
        const reason =
          parent !== undefined && withheld.has(parent)
            ? `${parent} does not exist yet`
            : blockedBy(change, this.devices.byName);
        if (reason === undefined) ready.push(change);
        else {
          outcome.waiting.push({ change, reason });
          undone.add(key);
          withheld.add(key);
        }
      }
      for (const [change, error] of await this.#applyStage(ready)) {
        if (error) {
          outcome.failed.push({ change, error });
          undone.add(keyOf(change.item));
        } else outcome.done.push(change);
      }
      if (ready.some(isOfDevice)) await this.#refreshDevices(ready);
    }
    return outcome;
  }

  /** Handles the notifications that have arrived so far: they tell of states older than what is read next. */
  catchUp(): void {
    this.#executors.rtnetlink.catchUp();
  }

  /** Announces a device's MAC to its neighbours. */
  async announce(name: string): Promise<void> {
    await this.#executors.rtnetlink.announce(name);
  }

  /**
   * Reports others' changes that contradict the desired state, until the signal aborts. However listening
   * ends, it begins again, and what happened meanwhile counts as a contradiction.
   */
  async watch(watch: Omit<Watch, 'onListening'>, log: Log): Promise<void> {
    const { signal, onContradiction } = watch;
    const listening = Object.entries(this.#executors).map(([name, executor]) => {
      const onListening = (): void => {
        if (this.#deaf.delete(name)) onContradiction(`notifications of ${name} were lost`);
      };
      const listen = (): Promise<void> => executor.watch({ ...watch, onListening });
      const ended = (reason: string): void => void this.#deaf.set(name, reason);
      return keepUp(`listen to ${name}`, listen, { signal, log, ended });
    });
    await Promise.all(listening);
  }

  close(): void {
    for (const executor of Object.values(this.#executors)) executor.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Whether an item to delete has already disappeared with its device. */
  #isGone({ action, item }: Change): boolean {
    const dev = deviceOf(item);
    return action === 'delete' && dev !== undefined && !this.devices.byName.has(dev);
  }

  #learn(name: string, done: readonly Change[]): void {
    const held = this.#held.get(name);
    for (const { action, item } of done) {
      if (action === 'delete') held?.delete(keyOf(item));
      else held?.set(keyOf(item), item);
    }
  }

  /** Refreshes the known state of the devices that the changes involve. */
  async #refreshDevices(changes: readonly Change[]): Promise<void> {
    // Creating or removing a device may change others.
    const affectsOthers = changes.some(
      (change) => isOfDevice(change) && kindOf(change.item).affectsOthers?.(change.item),
    );
    const names = affectsOthers ? undefined : new Set(changes.flatMap(({ item }) => devicesOf(item)));
    if (names && names.size <= FEW_DEVICES) this.devices.refresh(names);
    else await this.devices.read();
  }

  async #applyStage(changes: readonly Change[]): Promise<[Change, Error | undefined][]> {
    const answers: [Change, Error | undefined][] = [];
    for (const [name, executor] of Object.entries(this.#executors)) {
      const own = changes.filter(({ item }) => kindOf(item).executor === name);
      if (own.length === 0) continue;
      const errors = await executor.apply(own);
      answers.push(...own.map((change, i): [Change, Error | undefined] => [change, errors[i]]));
      this.#learn(
        name,
        own.filter((_, i) => !errors[i]),
      );
    }
    return answers;
  }
}

/** Items by key. A second route or FDB entry in one slot, added with `append`, is never desired as such. */
function byKey(items: readonly Item[]): Map<string, Item> {
  const state = new Map<string, Item>();
  for (const item of items) {
    let key = keyOf(item);
    while (state.has(key)) key = `${key} again`;
    state.set(key, item);
  }
  return state;
}

function isOfDevice({ item }: Change): boolean {
  return kindOf(item).provides !== undefined;
}
