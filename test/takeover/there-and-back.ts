import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import type { RunningPing } from '../agent/running-ping.ts';
import type { FlannelNode } from './flannel-cluster.ts';
import { settled } from './pings.ts';

/** A node of two pods goes from flannel to flatnet, and gets a third. */
export async function goOver(node: FlannelNode): Promise<void> {
  await node.stopFlanneld();
  await node.startAgent();
  const { stdout, stderr, status } = node.takeover();
  assert.equal(status, 0, stdout + stderr);
  assert.match(stdout, /nothing is left to do/);
  assert.doesNotMatch(node.run('nft', 'list', 'ruleset'), /FLANNEL-|flannel-ipv4/);
  await settled(node, 2);
  node.addPod();
  await settled(node, 3);
}

/** A node where flanneld runs again goes back to it, and gets one more pod: no address is given twice. */
export async function comeBack(node: FlannelNode): Promise<void> {
  await node.stopAgent();
  const { stdout, stderr, status } = node.takeover('--back');
  assert.equal(status, 0, stdout + stderr);
  assert.doesNotMatch(node.run('nft', 'list', 'ruleset'), /flatnet-/);
  node.addPod();
  const ips = node.pods.map(({ ip }) => ip);
  assert.equal(new Set(ips).size, ips.length, `addresses given twice: ${ips}`);
  assert.deepEqual(node.reserved().toSorted(), ips.toSorted());
}

/** Ends the pings: none was lost, and there was no pause. */
export async function assertNoneLost(t: TestContext, pings: readonly RunningPing[]): Promise<void> {
  for (const ping of pings) {
    const { sent, lost, seconds } = await ping.end();
    t.diagnostic(`${sent} packets in ${seconds.toFixed(1)} s, ${lost.length} lost`);
    assert.deepEqual(lost, []);
    assert.ok(sent > 100 * seconds, `${sent} packets in ${seconds} s`);
  }
}

/** Both kinds of plugin have made pods here; flannel's frees all of them. */
export function assertAllAreFreed(nodes: readonly FlannelNode[]): void {
  for (const node of nodes) {
    for (const pod of node.pods.slice()) node.removePod(pod);
    assert.deepEqual(node.reserved(), []);
  }
}
