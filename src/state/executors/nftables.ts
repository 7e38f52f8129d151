import { pause } from '../../async/pause.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../../linux/netlink/socket.ts';
import { generation, isAfter, nextGeneration } from '../../linux/nftables/generation.ts';
import { type NftEvent, NftMonitor } from '../../linux/nftables/monitor.ts';
import { listTables } from '../../linux/nftables/tables.ts';
import { overlapping } from '../../linux/nftables/values/overlap.ts';
import { holdersOf, isFlowtable, tableName } from '../../linux/nftables/values/table.ts';
import type { Change, Item, KernelState } from '../item.ts';
import { isOf } from '../kind.ts';
import { type NftElementItem, nftElement } from '../kinds/nft-element.ts';
import { type NftTableItem, nftTable, tableKey } from '../kinds/nft-table.ts';
import { isOurTable } from '../ownership.ts';
import type { Executor, Watch } from './executor.ts';
import { type KnownTable, NftCache } from './nft-cache.ts';
import {
  changeElements,
  type ElementChange,
  type Failures,
  noSetError,
  overlapError,
  rewriteTables,
} from './nft-write.ts';

type Transaction = Extract<NftEvent, { type: 'transaction' }>;

/** How long to wait for the notification of a transaction, in milliseconds. */
const NOTIFICATION_TIMEOUT = 200;

/**
 * nftables of one network namespace. A table is written as a whole, with all its elements, in one
 * transaction; after that, elements are changed individually. The kernel's tables are remembered, and read
 * again only after another process has changed one of ours: notifications report each transaction with its
 * number, the generation.
 */
export class Nftables implements Executor {
  readonly #netns: string | number | undefined;
  readonly #onForeignTable: () => void;
  readonly #socket: NetlinkSocket;
  readonly #known: NftCache;
  #watch: Watch | undefined;
  /** Every transaction up to this generation has been reported, or precedes everything known. */
  #notified: number | undefined;
  /** Notifications received during a write of ours; which of them are our own is known only afterwards. */
  #pending: Transaction[] | undefined;

  /** `onForeignTable`: a table that is not ours has changed, or may have. */
  constructor(netns: string | number | undefined, onForeignTable: () => void) {
    this.#netns = netns;
    this.#onForeignTable = onForeignTable;
    this.#socket = NetlinkSocket.open(NETLINK_NETFILTER, { netns });
    this.#known = new NftCache(this.#socket);
  }

  /** Always undefined: a table, shared by several contributors, is only compared as a whole. */
  async find(items: readonly Item[]): Promise<undefined[]> {
    return items.map(() => undefined);
  }

  /** Reads our existing tables and the desired ones, with the elements of those whose structure is right. */
  async read(desired: KernelState): Promise<Item[]> {
    await this.#catchUp();
    const wanted = new Map<string, NftTableItem>();
    for (const item of desired.values()) if (isOf(nftTable, item)) wanted.set(tableName(item), item);
    const present = (await listTables(this.#socket)).filter(
      (id) => isOurTable(id.table) || wanted.has(tableName(id)),
    );
    await this.#known.prepare(present.flatMap((id) => wanted.get(tableName(id)) ?? []));
    const items: Item[] = [];
    for (const id of present) {
      const table = wanted.get(tableName(id));
      const { structure, elements } = await this.#known.inspect(id, table);
      if (structure === 'absent') continue;
      if (structure === 'other' || table === undefined) {
        items.push({ kind: 'nft-table', family: id.family, table: id.table, chains: [] });
        continue;
      }
      items.push(table);
      for (const item of elements.values()) items.push(item);
    }
    return items;
  }

  async apply(changes: readonly Change[]): Promise<(Error | undefined)[]> {
    const failures: Failures = new Map();
    this.#pending = [];
    try {
      const rewritten = await this.#rewrite(changes, failures);
      await this.#change(changes, rewritten, failures);
    } finally {
      const pending = this.#pending;
      this.#pending = undefined;
      for (const each of pending) this.#process(each);
    }
    return changes.map(({ item }) => (isOurs(item) ? failures.get(item) : undefined));
  }

  async watch(watch: Watch): Promise<void> {
    const monitor = NftMonitor.open({ netns: this.#netns, signal: watch.signal });
    // Earlier changes have not been reported.
    this.#known.forgetAll();
    this.#notified = undefined;
    this.#watch = watch;
    watch.onListening();
    try {
      await monitor.run((event) => this.#onEvent(event));
    } finally {
      this.#watch = undefined;
      this.#notified = undefined;
    }
  }

  close(): void {
    this.#socket.close();
  }

  /** Replaces and deletes tables; returns their names. */
  async #rewrite(changes: readonly Change[], failures: Failures): Promise<ReadonlySet<string>> {
    const rewrites = new Map<string, { table: NftTableItem; elements?: NftElementItem[] }>();
    for (const { action, item } of changes) {
      if (!isOf(nftTable, item)) continue;
      rewrites.set(tableName(item), action === 'delete' ? { table: item } : { table: item, elements: [] });
    }
    if (rewrites.size === 0) return new Set();
    for (const { action, item } of changes) {
      if (isOf(nftElement, item) && action !== 'delete') rewrites.get(tableName(item))?.elements?.push(item);
    }
    const all = [...rewrites.values()];
    let expected = await generation(this.#socket);
    const transactions = await rewriteTables(this.#netns, all, failures);
    for (let i = 0; i < transactions; i++) expected = nextGeneration(expected);
    for (const { table } of all) this.#known.forget(table);
    const done = all.filter(({ table }) => !failures.has(table));
    const prints = await this.#known.printsOf(
      done.flatMap(({ table, elements }) => (elements ? [table] : [])),
    );
    const after = await generation(this.#socket);
    // Unless another process committed something in the meantime, the kernel holds exactly what we wrote.
    if (after === expected) {
      this.#known.learn(prints);
      for (const { table, elements = [] } of done) {
        const held = elements.filter((each) => !failures.has(each));
        this.#known.set(table, {
          generation: after,
          structure: prints.has(table) ? table : 'absent',
          elements: new Map(held.map((item) => [nftElement.key(item), item])),
        });
      }
    }
    return new Set(rewrites.keys());
  }

  async #change(
    changes: readonly Change[],
    rewritten: ReadonlySet<string>,
    failures: Failures,
  ): Promise<void> {
    const ready: ElementChange[] = [];
    for (const { action, item } of changes) {
      if (!isOf(nftElement, item) || rewritten.has(tableName(item))) continue;
      const set = setOf(this.#known.get(item), item.set);
      if (set) ready.push({ action: action === 'recreate' ? 'change' : action, item, set });
      else failures.set(item, noSetError(item));
    }
    if (ready.length === 0) return;
    await changeElements(this.#socket, ready, failures);
    const refused: NftElementItem[] = [];
    for (const { action, item } of ready) {
      const key = nftElement.key(item);
      // A refusal means that the table is not as we remember it.
      if (failures.has(item)) refused.push(item);
      else if (action === 'delete') this.#known.get(item)?.elements.delete(key);
      else this.#known.get(item)?.elements.set(key, item);
    }
    for (const item of refused) this.#explain(item, failures);
    for (const item of refused) this.#known.forget(item);
  }

  /** Names the overlapped range, where the kernel says only EEXIST. */
  #explain(item: NftElementItem, failures: Failures): void {
    const known = this.#known.get(item);
    const set = setOf(known, item.set);
    if (!known || !set || isFlowtable(set) || !set.interval) return;
    const members = [...known.elements.values()].filter((each) => each.set === item.set);
    const other = overlapping(set, [...members, item]).get(item);
    if (other) failures.set(item, overlapError(other));
  }

  /** Waits for the notifications of all transactions so far. */
  async #catchUp(): Promise<void> {
    const now = await generation(this.#socket);
    const deadline = performance.now() + NOTIFICATION_TIMEOUT;
    while (
      this.#watch &&
      this.#notified !== undefined &&
      isAfter(now, this.#notified) &&
      performance.now() < deadline
    ) {
      await pause(1);
    }
    if (this.#notified !== undefined && !isAfter(now, this.#notified)) return;
    this.#known.forgetAll();
    this.#notified = now;
  }

  #onEvent(event: NftEvent): void {
    if (event.type === 'overflow') {
      this.#known.forgetAll();
      this.#notified = undefined;
      this.#onForeignTable();
      this.#watch?.onContradiction('notifications were lost');
    } else if (this.#pending) this.#pending.push(event);
    else this.#process(event);
  }

  #process({ generation: id, tables, portId }: Transaction): void {
    if (this.#notified === undefined || isAfter(id, this.#notified)) this.#notified = id;
    if (portId === this.#socket.portId) return;
    const desired = this.#watch?.desired();
    for (const table of tables) {
      const isConcern = isOurTable(table.table) || desired?.has(tableKey(table));
      if (!isConcern) this.#onForeignTable();
      else if (this.#known.changed(table, id)) this.#watch?.onContradiction(tableKey(table));
    }
  }
}

function isOurs(item: Item): item is NftTableItem | NftElementItem {
  return isOf(nftTable, item) || isOf(nftElement, item);
}

function setOf(known: KnownTable | undefined, name: string) {
  const structure = known?.structure;
  return typeof structure === 'object' ? holdersOf(structure).find((set) => set.name === name) : undefined;
}
