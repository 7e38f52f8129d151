import assert from 'node:assert/strict';
import { closeSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Ip } from '../../src/ip/address.ts';
import { AF_INET6 } from '../../src/linux/netlink/family.ts';
import { withNetns } from '../../src/linux/netns.ts';
import { sockaddr } from '../../src/linux/sockaddr.ts';
import * as sys from '../../src/linux/sys.ts';
import { PolicedNode } from '../agent/flows/node.ts';
import { NO_KERNEL } from '../state/namespace.ts';
import { OUTSIDE6, PODS6 } from './routed-node.ts';

const IPPROTO_IPV6 = 41;
const IPPROTO_ICMPV6 = 58;
const IPV6_UNICAST_HOPS = 16;
const ECHO_REPLY = 129;
const SIZE = 100;
/** Queries, reports and the like of MLD, and neighbour discovery without what the guard drops. */
const BETWEEN_NEIGHBOURS = [130, 131, 132, 143, 133, 135, 136];

test('messages between neighbours carry nothing past policies to others', { skip: NO_KERNEL }, async (t) => {
  const policed = new PolicedNode(t);
  const [confined, isolated, free] = PODS6;
  const [outside] = OUTSIDE6;
  assert.ok(confined && isolated && free && outside);
  await policed.become({ 0: 'confined', 1: 'isolated' });
  const arriving = async (from: Ip, to: Ip): Promise<readonly number[]> => {
    using sender = new Messages(policed.node.at(from));
    using receiver = new Messages(policed.node.at(to));
    for (const type of [...BETWEEN_NEIGHBOURS, ECHO_REPLY])
      for (const hops of [1, 2, 64, 255]) sender.send(to, type, hops);
    await sleep(100);
    return receiver.received();
  };
  assert.ok((await arriving(free, outside)).includes(ECHO_REPLY));
  assert.deepEqual(await arriving(confined, outside), []);
  assert.deepEqual(await arriving(outside, isolated), []);
});

/** ICMPv6 messages of any type. */
class Messages implements Disposable {
  readonly #fd: number;

  constructor(netns: string) {
    const type = sys.SOCK_RAW | sys.SOCK_CLOEXEC | sys.SOCK_NONBLOCK;
    this.#fd = withNetns(netns, () => sys.socket(AF_INET6, type, IPPROTO_ICMPV6));
  }

  send(to: Ip, type: number, hops: number): void {
    sys.setsockopt(this.#fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, hops);
    sys.sendto(this.#fd, Buffer.concat([Buffer.of(type), Buffer.alloc(SIZE - 1)]), 0, sockaddr(to));
  }

  /** The types of all that has come, without the kernel's own. */
  received(): readonly number[] {
    const [types, buffer]: [number[], Buffer] = [[], Buffer.alloc(2048)];
    for (;;) {
      const size = sys.recvfrom(this.#fd, buffer, 0);
      if (size === undefined) return types;
      if (size === SIZE) types.push(buffer[0] ?? 0);
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}
