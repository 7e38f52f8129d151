import { NETLINK_NETFILTER, NetlinkSocket } from '../linux/netlink/socket.ts';
import { fingerprint } from '../linux/nftables/fingerprint.ts';
import { applyRuleset } from '../linux/nftables/ruleset.ts';
import type { Change } from './diff.ts';
import type { KernelState, NftTableItem } from './item.ts';
import { keyOf } from './key.ts';
import { OUR_TABLE } from './ownership.ts';

const FAMILIES: readonly NftTableItem['family'][] = ['ip', 'ip6', 'inet'];

/**
 * nftables of one network namespace, by whole tables. A table's text cannot be read back as it was written; so the
 * fingerprint that the kernel's copy had when we wrote it tells whether it is still that text.
 */
export class Nftables {
  readonly #netns: string | number | undefined;
  readonly #socket: NetlinkSocket;
  readonly #written = new Map<string, { readonly body: string; readonly print: string }>();

  constructor(netns: string | number | undefined) {
    this.#netns = netns;
    this.#socket = NetlinkSocket.open(NETLINK_NETFILTER, { netns });
  }

  /** Our tables, and the wanted ones, as far as they exist. One that somebody changed has an empty body. */
  async read(desired: KernelState): Promise<NftTableItem[]> {
    const names = new Map<string, Pick<NftTableItem, 'family' | 'table'>>();
    for (const family of FAMILIES) names.set(`nft ${family} ${OUR_TABLE}`, { family, table: OUR_TABLE });
    for (const [key, item] of desired) if (item.kind === 'nft') names.set(key, item);
    const found: NftTableItem[] = [];
    for (const [key, { family, table }] of names) {
      const print = await fingerprint(this.#socket, { family, table });
      if (print === undefined) continue;
      const written = this.#written.get(key);
      found.push({ kind: 'nft', family, table, body: written?.print === print ? written.body : '' });
    }
    return found;
  }

  /** Replaces the table, or deletes it, in one transaction. */
  async apply(action: Change['action'], item: NftTableItem): Promise<Error | undefined> {
    const { family, table, body } = item;
    const name = `${family} ${table}`;
    // Naming the table first makes the deletion work whether it is there or not.
    const gone = `table ${name}\ndelete table ${name}\n`;
    const text = action === 'delete' ? gone : `${gone}table ${name} {\n${body}\n}\n`;
    try {
      await applyRuleset(text, { netns: this.#netns });
      const print = await fingerprint(this.#socket, { family, table });
      if (print === undefined) this.#written.delete(keyOf(item));
      else this.#written.set(keyOf(item), { body, print });
      return undefined;
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
  }

  close(): void {
    this.#socket.close();
  }
}
