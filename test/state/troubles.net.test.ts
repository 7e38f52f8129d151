import assert from 'node:assert/strict';
import { closeSync, readdirSync, readlinkSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DumpRequest } from '../../src/linux/netlink/message.ts';
import { NetlinkSocket } from '../../src/linux/netlink/socket.ts';
import { factsOf, type Plan } from '../backends/cluster.ts';
import { composedState } from '../desired/composed.ts';
import { Namespace, NO_KERNEL, Running } from './namespace.ts';

const PLAN: Plan = { size: 3, families: [4], backend: { Type: 'vxlan' }, networks: 1 };

/** This process's netlink sockets and others, by descriptor. */
function sockets(): Set<number> {
  const isSocket = (fd: string): boolean => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith('socket:');
    } catch {
      return false;
    }
  };
  return new Set(readdirSync('/proc/self/fd').filter(isSocket).map(Number));
}

async function until(what: string, holds: () => boolean): Promise<void> {
  for (const deadline = performance.now() + 5000; !holds(); await sleep(5))
    assert.ok(performance.now() < deadline, what);
}

test('listeners that end for any reason begin again, and what happened meanwhile is found', {
  skip: NO_KERNEL,
}, async () => {
  using namespace = new Namespace(PLAN);
  // Opened before, so that the difference is the listeners alone.
  let before = new Set<number>();
  using running = new Running(namespace, {}, () => {
    before = sockets();
  });
  const listeners = [...sockets()].filter((fd) => !before.has(fd));
  assert.equal(listeners.length, 2);
  running.want(composedState(factsOf(PLAN)).items);
  await running.settled();
  for (const fd of listeners) closeSync(fd);
  // Ends the waits in progress, at the latest when their time is up; the next reads fail with EBADF.
  namespace.ip('link add nudge type bridge');
  namespace.run('nft', 'add table ip nudge');
  const told = new Set<string>();
  await until('both are in status', () => {
    for (const { what } of running.reconciler.troubles) told.add(what);
    return told.size === 2;
  });
  namespace.ip('route del 10.0.2.0/24');
  await until('both listen again', () => running.reconciler.troubles.length === 0);
  await running.settled(1000);
  await sleep(600);
  namespace.ip('route del 10.0.2.0/24');
  await running.settled(1000);
  namespace.run('nft', 'flush table ip flatnet-masquerade');
  await running.settled(1000);
});

/** As in linux/netfilter: NFNL_SUBSYS_NFTABLES and NFT_MSG_GETGEN. */
const GETGEN = (10 << 8) | 16;

test('a ruleset that never stands still holds up nothing but itself', { skip: NO_KERNEL }, async (t) => {
  using namespace = new Namespace(PLAN);
  // Left by an earlier agent, so there is something to read.
  namespace.run('nft', 'add table ip flatnet-masquerade');
  // Someone commits a transaction between any two looks at the generation.
  const { get } = NetlinkSocket.prototype;
  const busy = t.mock.method(NetlinkSocket.prototype, 'get', async function <
    T,
  >(this: NetlinkSocket, request: DumpRequest<T>): Promise<T> {
    if (request.type === GETGEN) namespace.run('nft', 'add table ip busy; delete table ip busy');
    return get.call(this, request) as Promise<T>;
  });
  using running = new Running(namespace);
  running.want(composedState(factsOf(PLAN)).items);
  await until('the routes are there', () => namespace.ip('route').includes('10.0.2.0/24'));
  await until('it is told', () => running.reports.some(({ unknown }) => unknown?.includes('nftables')));
  assert.ok(running.reconciler.troubles.some(({ what }) => what.startsWith('nftables cannot be read')));
  busy.mock.restore();
  await until('it is read', () => running.reconciler.troubles.length === 0);
  await running.settled();
  assert.match(namespace.run('nft', 'list table ip flatnet-masquerade'), /chain postrouting/);
  await until('and told', () => running.reports.at(-1)?.unknown === undefined);
});
