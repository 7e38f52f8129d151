import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { DOOMED, Sweeper } from '../../../src/cni/wiring/sweep.ts';
import { kernelTest, type Sandbox, sandbox } from '../../linux/sandbox.ts';

/** Timeout in milliseconds. A slow machine sweeps later, never earlier. */
const PATIENCE = 5000;

function doomedLink({ run, json }: Sandbox, name: string): { readonly exists: () => boolean } {
  run('ip', 'link', 'add', name, 'type', 'veth', 'peer', 'name', `${name}p`);
  run('ip', 'link', 'set', name, 'group', `${DOOMED}`);
  return { exists: () => json('ip', '-j', 'link').some(({ ifname }) => ifname === name) };
}

function sweeperIn(t: TestContext, { netns }: Sandbox): Sweeper {
  const sweeper = new Sweeper(netns, (error) => assert.fail(`${error}`));
  t.after(() => sweeper[Symbol.asyncDispose]());
  return sweeper;
}

async function untilGone(link: { readonly exists: () => boolean }): Promise<number> {
  const start = performance.now();
  while (link.exists()) {
    assert.ok(performance.now() - start < PATIENCE, 'the link is never swept');
    await sleep(5);
  }
  return performance.now() - start;
}

kernelTest('a doomed link is swept once calls pause', async (t) => {
  const box = sandbox(t);
  const sweeper = sweeperIn(t, box);
  const link = doomedLink(box, 'pod0');
  sweeper.soon('pod0');
  assert.ok(sweeper.has('pod0'));
  await untilGone(link);
  await sweeper.now();
  assert.ok(!sweeper.has('pod0'));
});

kernelTest('calls delay a sweep, but not forever', async (t) => {
  const box = sandbox(t);
  const sweeper = sweeperIn(t, box);
  const link = doomedLink(box, 'pod0');
  const start = performance.now();
  sweeper.soon('pod0');
  const calls = setInterval(() => sweeper.yield(), 10);
  t.after(() => clearInterval(calls));
  await untilGone(link);
  const waited = performance.now() - start;
  assert.ok(waited > 300, `it was swept after ${waited} ms, while calls came every 10 ms`);
});
