import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseIp } from '../../src/ip/address.ts';
import { RunningPing } from '../agent/running-ping.ts';
import type { FlannelCluster, FlannelNode } from './flannel-cluster.ts';

/** Between nodes, on one node, and to the outside, from pods that are there from the beginning. */
export function pingsBetween(t: TestContext, { nodes }: FlannelCluster): RunningPing[] {
  const [[a, a2], [b], [c]] = nodes.map(({ pods }) => pods) as [
    FlannelNode['pods'],
    FlannelNode['pods'],
    FlannelNode['pods'],
  ];
  assert.ok(a && a2 && b && c);
  const outside = { ip: parseIp('10.99.0.254') };
  const pairs = [
    [a, b],
    [b, a],
    [a, a2],
    [c, a],
    [b, outside],
  ] as const;
  return pairs.map(([from, to]) => new RunningPing(t, from.netns, to.ip));
}

/** Waits until the agent's status shows so many pods, and nothing wrong. */
export async function settled(node: FlannelNode, pods: number): Promise<void> {
  for (const end = Date.now() + 10_000; Date.now() < end; await sleep(100)) {
    if (node.status()?.pods.length === pods) break;
  }
  const status = node.status();
  assert.equal(status?.pods.length, pods);
  assert.deepEqual(status.problems, []);
  assert.ok(existsSync(join(node.folders.run, 'agent.sock')));
}
