import { NetlinkListener } from '../netlink/listener.ts';
import { messagesOf } from '../netlink/message.ts';
import { NETLINK_NETFILTER } from '../netlink/socket.ts';
import { nftCommand, type TableName, tableOf } from './message.ts';

const NFNLGRP_NFTABLES = 7;

export type NftMonitorOptions = {
  /** A path or a descriptor of a network namespace; by default the thread's own. */
  readonly netns?: string | number | undefined;
  readonly signal: AbortSignal;
};

export type NftEvent =
  /**
   * Something in the table changed, or it came or went. `portId` is that of the socket that did it; of `nft` it is the process id,
   * which `applyRuleset` returns.
   */
  | (TableName & { readonly type: 'table'; readonly portId: number })
  /** Events were lost. */
  | { readonly type: 'overflow' };

/** Changes to nftables as they happen, like `nft monitor`, one event for each table in a datagram. */
export class NftMonitor {
  readonly #listener: NetlinkListener;

  private constructor(listener: NetlinkListener) {
    this.#listener = listener;
  }

  /** Listens from now on. */
  static open({ netns, signal }: NftMonitorOptions): NftMonitor {
    return new NftMonitor(
      NetlinkListener.open(NETLINK_NETFILTER, { netns, signal, groups: [NFNLGRP_NFTABLES] }),
    );
  }

  /** Ends when the signal aborts. */
  async *[Symbol.asyncIterator](): AsyncGenerator<NftEvent> {
    for await (const datagram of this.#listener) {
      if (datagram === 'overflow') yield { type: 'overflow' };
      else yield* tablesIn(datagram);
    }
  }

  /** Calls `listener` with each event, until the signal aborts. Rejects with what the listener throws. */
  async run(listener: (event: NftEvent) => void): Promise<void> {
    for await (const event of this) listener(event);
  }
}

/** A transaction's messages come many to a datagram, mostly about one table. */
function tablesIn(datagram: Buffer): Iterable<NftEvent> {
  const tables = new Map<string, NftEvent>();
  for (const message of messagesOf(datagram)) {
    const name = nftCommand(message) === undefined ? undefined : tableOf(message);
    if (!name) continue;
    const { portId } = message;
    tables.set(`${name.family} ${name.table} ${portId}`, { type: 'table', ...name, portId });
  }
  return tables.values();
}
