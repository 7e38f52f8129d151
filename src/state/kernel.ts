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

  /** Throws SYSCALL, or NOT_FOUND if the namespace does not exist. */
  constructor(options: ExecutorOptions = {}) {
    this.#executors = openExecutors(options);
  }

  /** As last read. */
  get devices(): Devices {
    return this.#executors.rtnetlink.devices;
  }

  /** Reads the desired items that the kernel holds, and any others of ours. */
  async read(desired: KernelState): Promise<KernelState> {
    const state = new Map<string, Item>();
    for (const executor of Object.values(this.#executors)) {
      for (const item of await executor.read(desired)) {
        let key = keyOf(item);
        // A second route or FDB entry in one slot, added with `append`: never desired under this key.
        while (state.has(key)) key = `${key} again`;
        state.set(key, item);
      }
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

  /** Reports others' changes that contradict the desired state, until the signal aborts. */
  async watch(watch: Watch): Promise<void> {
    await Promise.all(Object.values(this.#executors).map((executor) => executor.watch(watch)));
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
    }
    return answers;
  }
}

function isOfDevice({ item }: Change): boolean {
  return kindOf(item).provides !== undefined;
}
