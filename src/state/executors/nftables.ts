import { type Ip, ipToBytes } from '../../ip/address.ts';
import type { Request } from '../../linux/netlink/message.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../../linux/netlink/socket.ts';
import { type Element, elementAdd, elementDelete } from '../../linux/nftables/element.ts';
import { fingerprint } from '../../linux/nftables/fingerprint.ts';
import { NftMonitor } from '../../linux/nftables/monitor.ts';
import { applyRuleset } from '../../linux/nftables/ruleset.ts';
import { commit } from '../../linux/nftables/transaction.ts';
import type { Change, Item, KernelState } from '../item.ts';
import { isOf } from '../kind.ts';
import { type NftTableItem, nftTable, tableText } from '../kinds/nft-table.ts';
import { OUR_TABLE } from '../ownership.ts';
import { asError, type Executor, type Watch } from './executor.ts';

const FAMILIES: readonly NftTableItem['family'][] = ['ip', 'ip6', 'inet'];

/** A table as we wrote it, and its fingerprint when we had. */
type Written = { readonly item: NftTableItem; readonly print: string };

/**
 * nftables of one network namespace, by whole tables. A table's text cannot be read back as it was written; so the
 * fingerprint that the kernel's copy had when we wrote it tells whether it is still that text.
 */
export class Nftables implements Executor {
  readonly #netns: string | number | undefined;
  readonly #socket: NetlinkSocket;
  readonly #written = new Map<string, Written>();

  readonly #onForeignTable: () => void;

  /** `onForeignTable`: somebody changed a table that is not ours, or may have. */
  constructor(netns: string | number | undefined, onForeignTable: () => void) {
    this.#netns = netns;
    this.#onForeignTable = onForeignTable;
    this.#socket = NetlinkSocket.open(NETLINK_NETFILTER, { netns });
  }

  /** Our tables, and the wanted ones, as far as they exist. One that somebody changed has an empty body. */
  async read(desired: KernelState): Promise<Item[]> {
    const names = new Map<string, Pick<NftTableItem, 'family' | 'table'>>();
    for (const family of FAMILIES) names.set(`nft ${family} ${OUR_TABLE}`, { family, table: OUR_TABLE });
    for (const [key, item] of desired) if (isOf(nftTable, item)) names.set(key, item);
    const found: NftTableItem[] = [];
    for (const [key, { family, table }] of names) {
      const print = await fingerprint(this.#socket, { family, table });
      if (print === undefined) continue;
      const written = this.#written.get(key);
      found.push(written?.print === print ? written.item : { kind: 'nft', family, table, body: '' });
    }
    return found;
  }

  async apply(changes: readonly Change[]): Promise<(Error | undefined)[]> {
    const errors: (Error | undefined)[] = [];
    for (const { action, item } of changes) {
      errors.push(isOf(nftTable, item) ? await this.#apply(action, item) : undefined);
    }
    return errors;
  }

  async watch({ signal, onContradiction }: Watch): Promise<void> {
    await NftMonitor.open({ netns: this.#netns, signal }).run((event) => {
      if (event.type === 'overflow') {
        this.#onForeignTable();
        onContradiction('notifications were lost');
        return;
      }
      for (const { family, table } of event.tables) {
        if (table !== OUR_TABLE) this.#onForeignTable();
        // Whole tables that we write too: only the fingerprint tells them from others', and they are rare.
        else if (event.portId !== this.#socket.portId) onContradiction(`nft table ${family} ${table}`);
      }
    });
  }

  /** Replaces the table, or deletes it, in one transaction; where only its sets change, the elements that differ. */
  async #apply(action: Change['action'], item: NftTableItem): Promise<Error | undefined> {
    const { family, table } = item;
    const written = this.#written.get(nftTable.key(item));
    try {
      if (action === 'delete' || !written || !(await this.#refill(written, item))) {
        const name = `${family} ${table}`;
        // Naming the table first makes the deletion work whether it is there or not.
        const gone = `table ${name}\ndelete table ${name}\n`;
        await applyRuleset(action === 'delete' ? gone : `${gone}${tableText(item)}`, { netns: this.#netns });
      }
      const print = await fingerprint(this.#socket, { family, table });
      if (print === undefined) this.#written.delete(nftTable.key(item));
      else this.#written.set(nftTable.key(item), { item, print });
      return undefined;
    } catch (error) {
      return asError(error);
    }
  }

  /** Whether it was enough to change elements; false where the table in the kernel is not what we wrote, apart from its sets. */
  async #refill(written: Written, wanted: NftTableItem): Promise<boolean> {
    const { item, print } = written;
    if (item.body !== wanted.body || (await fingerprint(this.#socket, wanted)) !== print) return false;
    await commit(this.#socket, refill(item, wanted));
    return true;
  }

  close(): void {
    this.#socket.close();
  }
}

/** What makes the sets of one the sets of the other, of two tables that else are equal. */
function refill(from: NftTableItem, to: NftTableItem): Request[] {
  const { family, table } = to;
  return Object.keys({ ...from.sets, ...to.sets }).flatMap((set) => {
    const before = new Set(from.sets?.[set]);
    const after = new Set(to.sets?.[set]);
    const name = { family, table, set };
    return [
      ...elementAdd(name, [...after].filter((ip) => !before.has(ip)).map(element)),
      ...elementDelete(name, [...before].filter((ip) => !after.has(ip)).map(element)),
    ];
  });
}

function element(ip: Ip): Element {
  return { key: [ipToBytes(ip)] };
}
