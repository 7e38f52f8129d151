import { setTimeout as sleep } from 'node:timers/promises';
import { linkGet } from '../../src/linux/link/link.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../src/linux/netlink/socket.ts';
import { netnsPath } from '../../src/linux/netns.ts';
import { diff } from '../../src/state/diff.ts';
import { keyOf } from '../../src/state/item.ts';
import { Kernel } from '../../src/state/kernel.ts';
import { byKey } from '../state/compose.ts';
import type { Cluster, TestNode } from './cluster.ts';

/** Polls one node's kernel through netlink. */
export class Watcher implements Disposable {
  readonly #cluster: Cluster;
  readonly #node: TestNode;
  readonly #kernel: Kernel;

  constructor(cluster: Cluster, node: TestNode) {
    this.#cluster = cluster;
    this.#node = node;
    this.#kernel = new Kernel({ netns: netnsPath(cluster.netns(node)) });
  }

  [Symbol.dispose](): void {
    this.#kernel.close();
  }

  /** Differences from the expected state. */
  async differences(): Promise<string[]> {
    const desired = byKey(this.#cluster.desired(this.#node).items);
    const changes = diff(await this.#kernel.read(desired), desired);
    const texts = changes.map(({ action, item }) => `${this.#node.name}: ${action} ${keyOf(item)}`);
    for (const { netns, mtu } of this.#cluster.podEnds(this.#node)) {
      using socket = NetlinkSocket.open(NETLINK_ROUTE, { netns: netnsPath(netns) });
      const link = await socket.get(linkGet('eth0'));
      if (link.mtu !== mtu) texts.push(`${netns}: MTU ${link.mtu}`);
    }
    return texts;
  }
}

/** Time the state must stay repaired, in milliseconds: agents learn of changes in the store with a delay. */
const CALM = 150;

/**
 * Returns the milliseconds from `begin` until all kernels are as expected and stay so; throws after `limit`
 * with the differences.
 */
export async function healed(watchers: readonly Watcher[], begin: number, limit: number): Promise<number> {
  for (let wrong = performance.now(); ; ) {
    const looked = performance.now();
    const left = (await Promise.all(watchers.map((watcher) => watcher.differences()))).flat();
    if (left.length > 0) wrong = performance.now();
    else if (looked - wrong > CALM) return wrong - begin;
    if (wrong - begin > limit) throw new Error(`not healed after ${limit} ms: ${left.join(', ')}`);
    await sleep(10);
  }
}
