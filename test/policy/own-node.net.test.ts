import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import type { Ip } from '../../src/ip/address.ts';
import { PolicedNode } from '../agent/flows/node.ts';
import { NO_KERNEL } from '../state/namespace.ts';
import { eventually } from '../store/servers.ts';
import { BridgedNode, guardOfPods } from './bridged-node.ts';
import { NODE, PODS, PODS6, RoutedNode } from './routed-node.ts';

type AnyNode = Disposable & Pick<RoutedNode, 'name' | 'nameAt'>;

const ROUTED = { node: () => new RoutedNode(), device: (pod: number) => `fltp${pod}`, besides: [] };
const BRIDGED = { node: () => new BridgedNode(), device: () => 'cni0', besides: guardOfPods() };

for (const [wiring, { node, device, besides }] of Object.entries({ routed: ROUTED, bridged: BRIDGED }))
  test(`${wiring}: a pod that nobody knows yet may answer its node, and open nothing to it`, {
    skip: NO_KERNEL,
  }, async (t) => {
    const policed = new PolicedNode<AnyNode>(t, node());
    const pings = (from: Ip, to: string): boolean => {
      const name = policed.node.nameAt(from);
      try {
        execFileSync('ip', ['netns', 'exec', name, 'ping', '-c1', '-W1', to], { stdio: 'pipe' });
        return true;
      } catch {
        return false;
      }
    };
    const linkLocal = (pod: number): string => {
      const command = ['-n', policed.node.name, '-j', '-6', 'address', 'show', 'dev', device(pod)];
      const [link] = JSON.parse(execFileSync('ip', command, { encoding: 'utf8' }));
      const { local } = link.addr_info.findLast(({ scope }: { scope: string }) => scope === 'link');
      return `${local}%eth0`;
    };
    const [known, waiting, banned] = PODS;
    assert.ok(known && waiting && banned);
    // After duplicate address detection.
    for (const [pod, ip] of [known, waiting, banned].entries())
      await eventually(() => pings(ip, linkLocal(pod)), 10_000);
    assert.ok(pings(waiting, NODE), 'without policies');

    await policed.become({ 2: 'banned', 3: 'isolated' }, { waiting: 1, besides });
    forget(policed.node.nameAt(waiting));
    forget(policed.node.name);
    for (const ip of [PODS[1], PODS6[1]]) assert.ok(ip && pings(NODE, ip), `from the node to ${ip}`);
    for (const [pod, ip, reaches] of [
      [0, known, true],
      [1, waiting, false],
      [2, banned, false],
    ] as const)
      assert.deepEqual(
        [pings(ip, NODE), pings(ip, linkLocal(pod))],
        [reaches, reaches],
        `from ${ip}, by IPv4 and IPv6`,
      );
    await policed.become({ 2: 'banned', 3: 'isolated' }, { besides });
    assert.deepEqual([pings(waiting, NODE), pings(waiting, linkLocal(1))], [true, true]);
  });

/** Neighbours have to be found anew; routed pods know their gateway for IPv4. */
function forget(netns: string): void {
  for (const which of ['-4 neigh flush all', '-6 neigh flush all nud all'])
    execFileSync('ip', ['-n', netns, ...which.split(' ')], { stdio: 'pipe' });
}
