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

/** Up to this many devices are read one by one; beyond that, all at once. */
const FEW_DEVICES = 16;

export type Failure = { readonly change: Change; readonly error: Error };
export type Waiting = { readonly change: Change; readonly reason: string };

/** What became of some changes. `waiting`: could not be tried, as the device they need is absent or down. */
export type Outcome = {
  readonly done: readonly Change[];
  readonly failed: readonly Failure[];
  readonly waiting: readonly Waiting[];
};

/** The kernel of one network namespace, read and changed as items by executors. */
export class Kernel implements Disposable {
  readonly #executors: ReturnType<typeof openExecutors>;

  /** Throws SYSCALL, and NOT_FOUND when there is no such namespace. */
  constructor(options: ExecutorOptions = {}) {
    this.#executors = openExecutors(options);
  }

  /** As last read. */
  get devices(): Devices {
    return this.#executors.rtnetlink.devices;
  }

  /** What the kernel holds of what is wanted, and what else it holds that is ours. */
  async read(desired: KernelState): Promise<KernelState> {
    const state = new Map<string, Item>();
    for (const executor of Object.values(this.#executors)) {
      for (const item of await executor.read(desired)) {
        let key = keyOf(item);
        // A second route or FDB entry in one slot, by `append`: nobody wants it under this key.
        while (state.has(key)) key = `${key} again`;
        state.set(key, item);
      }
    }
    return state;
  }

  /** Each item as the kernel holds it now; undefined where it does not, or cannot be asked for it alone. */
  async look(items: readonly Item[]): Promise<readonly (Item | undefined)[]> {
    const found = new Map<Item, Item | undefined>();
    for (const [name, executor] of Object.entries(this.#executors)) {
      const own = items.filter((item) => kindOf(item).executor === name);
      const present = own.length === 0 ? [] : await executor.look(own);
      for (const [i, item] of own.entries()) found.set(item, present[i]);
    }
    return items.map((item) => found.get(item));
  }

  /** Makes the changes, stage after stage. One that fails does not stop the rest. */
  async apply(stages: readonly (readonly Change[])[]): Promise<Outcome> {
    const outcome = { done: [] as Change[], failed: [] as Failure[], waiting: [] as Waiting[] };
    /** What has to wait, by key; a device of that name may exist and belong to somebody else. */
    const withheld = new Set<string>();
    /**
     * What could not be done: a device that was not made is not set up either, and only the first reason
     * counts.
     */
    const undone = new Set<string>();
    const all = stages.flat();
    if (all.some(isOfDevice)) await this.#lookAtDevices(all);
    for (const stage of stages) {
      const ready: Change[] = [];
      for (const change of stage) {
        const key = keyOf(change.item);
        if (undone.has(key) || this.#isGone(change)) continue;
        const parent = parentOf(change.item);
        const reason =
          parent !== undefined && withheld.has(parent)
            ? `${parent} is not there yet`
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
      if (ready.some(isOfDevice)) await this.#lookAtDevices(ready);
    }
    return outcome;
  }

  /** Tells of what others change against the desired state; until the signal aborts. */
  async watch(watch: Watch): Promise<void> {
    await Promise.all(Object.values(this.#executors).map((executor) => executor.watch(watch)));
  }

  close(): void {
    for (const executor of Object.values(this.#executors)) executor.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** It has already gone with its device. */
  #isGone({ action, item }: Change): boolean {
    const dev = deviceOf(item);
    return action === 'delete' && dev !== undefined && !this.devices.byName.has(dev);
  }

  /** Refreshes what is known about the devices that the changes involve. */
  async #lookAtDevices(changes: readonly Change[]): Promise<void> {
    // When a device is made or removed, others may change too.
    const isFar = changes.some((change) => isOfDevice(change) && kindOf(change.item).entails?.(change.item));
    const names = isFar ? undefined : new Set(changes.flatMap(({ item }) => devicesOf(item)));
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
