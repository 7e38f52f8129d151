import type { Item } from '../state/item.ts';
import { keyOf } from '../state/item.ts';
import type { NftTableItem } from '../state/kinds/nft-table.ts';

/**
 * Gathers items; of two that want one slot the first stays, and the other is a warning. Except for nftables: what several
 * give of one table are its parts, chains and sets of different names.
 */
export class Collector {
  readonly items: Item[] = [];
  readonly warnings: string[] = [];
  readonly #owners = new Map<string, string>();

  /** What one owner wants twice is the same thing: two blocks of a peer share its FDB entry. */
  add(items: readonly Item[], owner: string): void {
    for (const item of items) {
      const key = keyOf(item);
      const present = this.#owners.get(key);
      if (present !== undefined && item.kind === 'nft') {
        this.#join(key, item);
      } else if (present === undefined) {
        this.#owners.set(key, owner);
        this.items.push(item);
      } else if (present !== owner) {
        this.warnings.push(`${owner}: wants '${key}', which ${present} has already: ignored`);
      }
    }
  }

  #join(key: string, part: NftTableItem): void {
    const at = this.items.findIndex((item) => item.kind === 'nft' && keyOf(item) === key);
    const table = this.items[at];
    if (table?.kind !== 'nft') return;
    const sets = { ...table.sets, ...part.sets };
    this.items[at] = { ...table, body: `${table.body}\n${part.body}`, sets };
  }
}
