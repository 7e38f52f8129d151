import type { NetlinkSocket } from '../../linux/netlink/socket.ts';
import { readElements } from '../../linux/nftables/element-dump.ts';
import { structurePrint } from '../../linux/nftables/fingerprint.ts';
import { consistent, isAfter } from '../../linux/nftables/generation.ts';
import { rehearse } from '../../linux/nftables/rehearsal.ts';
import { tableText } from '../../linux/nftables/values/render.ts';
import {
  holdersOf,
  isFlowtable,
  type Table,
  type TableId,
  tableName,
} from '../../linux/nftables/values/table.ts';
import { elementItem, type NftElementItem, nftElement } from '../kinds/nft-element.ts';
import type { NftTableItem } from '../kinds/nft-table.ts';

/** A table as the kernel held it at some generation. */
export type KnownTable = {
  readonly generation: number;
  /** `other`: it exists, but its structure differed from the desired one when it was read. */
  readonly structure: NftTableItem | 'other' | 'absent';
  /** By item key; empty unless the structure is the desired one. */
  readonly elements: Map<string, NftElementItem>;
};

/** The known state of the kernel's tables, so that only changes made by others require a read. */
export class NftCache {
  readonly #socket: NetlinkSocket;
  readonly #tables = new Map<string, KnownTable>();
  /** The kernel's structure print, by table text. */
  readonly #prints = new Map<string, string>();

  constructor(socket: NetlinkSocket) {
    this.#socket = socket;
  }

  get(table: TableId): KnownTable | undefined {
    return this.#tables.get(tableName(table));
  }

  set(table: TableId, known: KnownTable): void {
    this.#tables.set(tableName(table), known);
  }

  forget(table: TableId): void {
    this.#tables.delete(tableName(table));
  }

  forgetAll(): void {
    this.#tables.clear();
  }

  /**
   * Records that another process changed a table in this generation. Returns false if that was known already.
   */
  changed(table: TableId, generation: number): boolean {
    const known = this.get(table);
    if (known && !isAfter(generation, known.generation)) return false;
    this.forget(table);
    return true;
  }

  /**
   * Returns a table's current state, with its elements if it has the wanted structure, which must be
   * prepared.
   */
  async inspect(id: TableId, wanted: NftTableItem | undefined): Promise<KnownTable> {
    const known = this.get(id);
    if (known && isSufficient(known, wanted)) return known;
    const read = async () => {
      const print = await structurePrint(this.#socket, id);
      const isRight =
        wanted !== undefined && print !== undefined && print === this.#prints.get(tableText(wanted));
      const structure = isRight ? wanted : print === undefined ? ('absent' as const) : ('other' as const);
      return { structure, elements: isRight ? await this.#elementsOf(wanted) : new Map() };
    };
    const { value, generation } = await consistent(this.#socket, tableName(id), read);
    const fresh: KnownTable = { ...value, generation };
    this.set(id, fresh);
    return fresh;
  }

  /** Determines the unknown prints of structures. */
  async prepare(tables: readonly NftTableItem[]): Promise<void> {
    const byText = new Map(tables.map((table) => [tableText(table), table]));
    const unknown = [...byText].filter(([text]) => !this.#prints.has(text)).map(([, table]) => table);
    if (unknown.length === 0) return;
    // A structure that can't be rehearsed, perhaps because a device is missing, is always rewritten.
    const prints = await rehearse(unknown).catch(() => []);
    for (const [i, table] of unknown.entries()) {
      const print = prints[i];
      if (print !== undefined) this.#prints.set(tableText(table), print);
    }
  }

  /** Reads the prints of tables just written. */
  async printsOf(tables: readonly NftTableItem[]): Promise<ReadonlyMap<NftTableItem, string>> {
    const prints = new Map<NftTableItem, string>();
    for (const table of tables) prints.set(table, (await structurePrint(this.#socket, table)) ?? '');
    return prints;
  }

  /** Remembers known prints. */
  learn(prints: ReadonlyMap<NftTableItem, string>): void {
    for (const [table, print] of prints) this.#prints.set(tableText(table), print);
  }

  async #elementsOf(table: Table): Promise<Map<string, NftElementItem>> {
    const elements = new Map<string, NftElementItem>();
    for (const set of holdersOf(table)) {
      if (!isFlowtable(set) && set.dynamic) continue;
      for (const element of await readElements(this.#socket, table, set)) {
        const item = elementItem(table, element);
        elements.set(nftElement.key(item), item);
      }
    }
    return elements;
  }
}

/** Whether the known state is sufficient for the structure wanted now. */
function isSufficient({ structure }: KnownTable, wanted: NftTableItem | undefined): boolean {
  if (structure === 'absent') return true;
  if (structure === 'other') return wanted === undefined;
  return wanted === undefined || structure === wanted || tableText(structure) === tableText(wanted);
}
