import { decodeEvent, type MonitorEvent } from './event.ts';
import { NetlinkListener } from './netlink/listener.ts';
import { messagesOf } from './netlink/message.ts';
import { NETLINK_ROUTE } from './netlink/socket.ts';

/** The multicast groups (RTNLGRP_*) that report each kind of object. */
const GROUPS = {
  link: [1],
  address: [5, 9],
  route: [7, 11],
  /** Also FDB entries and misses. */
  neighbour: [3],
  rule: [8, 19],
  /** Queueing disciplines and filters. */
  queue: [4],
  netconf: [24, 25],
} as const;

export type MonitorOptions = {
  /** A path or a descriptor of a network namespace; by default the thread's own. */
  readonly netns?: string | number | undefined;
  readonly signal: AbortSignal;
  /** Default: all. */
  readonly objects?: readonly (keyof typeof GROUPS)[] | undefined;
  /** Milliseconds for which more events may gather after some have been reported. Default: 0. */
  readonly gather?: number | undefined;
};

/** Reports changes in a network namespace as they happen, like `ip monitor`, until the signal aborts. */
export class Monitor {
  readonly #listener: NetlinkListener;

  private constructor(listener: NetlinkListener) {
    this.#listener = listener;
  }

  /** Starts listening. Dump after this call, and nothing is missed. */
  static open({ netns, signal, objects, gather }: MonitorOptions): Monitor {
    const wanted = objects ?? (Object.keys(GROUPS) as (keyof typeof GROUPS)[]);
    const groups = wanted.flatMap((object) => [...GROUPS[object]]);
    return new Monitor(NetlinkListener.open(NETLINK_ROUTE, { netns, signal, groups, gather }));
  }

  /** Calls `listener` with each event, until the signal aborts. Rejects if the listener throws. */
  run(listener: (event: MonitorEvent) => void): Promise<void> {
    return this.#listener.run((datagram) => {
      if (datagram === 'overflow') return listener({ type: 'overflow' });
      for (const message of messagesOf(datagram)) {
        const event = decodeEvent(message);
        if (event) listener(event);
      }
    });
  }

  /** Reports what has gathered so far. */
  catchUp(): void {
    this.#listener.catchUp();
  }
}
