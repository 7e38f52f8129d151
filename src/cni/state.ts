import { readFileSync } from 'node:fs';
import { KeyedQueue } from '../async/queue.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../linux/netlink/socket.ts';
import { type Sync, withNetns } from '../linux/netns.ts';
import { Later } from './addresses/later.ts';
import { Pools } from './addresses/pools.ts';
import type { CniContext } from './context.ts';
import { Attachments } from './records/attachment.ts';
import { Sweeper } from './wiring/sweep.ts';

/** State shared by the verbs for the agent's lifetime. */
export class CniState implements AsyncDisposable {
  readonly context: CniContext;
  /** Path of the node's namespace, to distinguish it from a pod's. */
  readonly netns: string;
  readonly bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  readonly attachments: Attachments;
  readonly pools: Pools;
  /** Serializes the calls for each container. */
  readonly locks = new KeyedQueue();
  readonly sweeper: Sweeper;
  /** In the node's namespace, for synchronous calls only. */
  readonly link: NetlinkSocket;

  /** Releases addresses of removed attachments that are still held because the store was unreachable. */
  readonly later: Later;

  constructor(context: CniContext, collect: () => Promise<void>) {
    this.context = context;
    this.netns = context.netns ?? '/proc/self/ns/net';
    this.pools = new Pools(context);
    this.attachments = new Attachments(context.stateDir);
    this.link = NetlinkSocket.open(NETLINK_ROUTE, { netns: this.netns });
    this.sweeper = new Sweeper(this.netns, (error) => context.warn('sweeping deleted pods’ links', error));
    this.later = new Later(() =>
      collect().catch((error: unknown) => context.warn('releasing the addresses of deleted pods', error)),
    );
    // An earlier agent may have left some.
    this.sweeper.soon();
  }

  /** Runs with the calling thread in the node's namespace, which it usually is in already. */
  inNode<T>(run: () => Sync<T>): T {
    return this.context.netns === undefined ? run() : withNetns(this.netns, run);
  }

  step(name: string): void {
    this.context.step?.(name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.later.cancel();
    await this.sweeper[Symbol.asyncDispose]();
    this.pools.close();
    this.link.close();
  }
}
