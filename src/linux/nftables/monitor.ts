import { NetlinkListener } from '../netlink/listener.ts';
import { messagesOf } from '../netlink/message.ts';
import { NETLINK_NETFILTER } from '../netlink/socket.ts';
import { generationIn } from './generation.ts';
import { NFT_MSG_NEWGEN, nftCommand, type TableId, tableOf } from './message.ts';

const NFNLGRP_NFTABLES = 7;

export type NftMonitorOptions = {
  /** A path or a descriptor of a network namespace; by default the thread's own. */
  readonly netns?: string | number | undefined;
  readonly signal: AbortSignal;
};

export type NftEvent =
  | {
      readonly type: 'transaction';
      readonly generation: number;
      /** The tables that were changed, created or deleted. */
      readonly tables: readonly TableId[];
      /** Identifies the socket that made the changes. */
      readonly portId: number;
    }
  /** Events were lost. */
  | { readonly type: 'overflow' };

/** Reports changes to nftables as they happen, like `nft monitor`: one event per transaction. */
export class NftMonitor {
  readonly #listener: NetlinkListener;
  /** Tables of the transaction seen so far: its messages may span several datagrams. */
  #tables = new Map<string, TableId>();

  private constructor(listener: NetlinkListener) {
    this.#listener = listener;
  }

  /** Starts listening. */
  static open({ netns, signal }: NftMonitorOptions): NftMonitor {
    return new NftMonitor(
      NetlinkListener.open(NETLINK_NETFILTER, { netns, signal, groups: [NFNLGRP_NFTABLES] }),
    );
  }

  /** Calls `listener` with each event, until the signal aborts. Rejects if the listener throws. */
  run(listener: (event: NftEvent) => void): Promise<void> {
    return this.#listener.run((datagram) => {
      if (datagram === 'overflow') {
        this.#tables.clear();
        listener({ type: 'overflow' });
      } else for (const event of this.#read(datagram)) listener(event);
    });
  }

  *#read(datagram: Buffer): Generator<NftEvent> {
    for (const message of messagesOf(datagram)) {
      const command = nftCommand(message);
      if (command === NFT_MSG_NEWGEN) {
        const tables = [...this.#tables.values()];
        this.#tables = new Map();
        yield {
          type: 'transaction',
          generation: generationIn(message) ?? 0,
          tables,
          portId: message.portId,
        };
        continue;
      }
      const name = command === undefined ? undefined : tableOf(message);
      if (name) this.#tables.set(`${name.family} ${name.table}`, name);
    }
  }
}
