import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { poll } from '../../src/async/poll.ts';
import { Lab } from '../../src/lab/record/lab.ts';
import { LabPaths } from '../../src/lab/record/paths.ts';
import { Random } from '../agent/random.ts';
import { CANNOT, FLATNET, ip, TestLab, traces } from './host.ts';

const NOTHING = { namespaces: [], processes: [], files: [], links: [], mounts: [] };

/** Starts a command of the lab; `ended` is its exit status. */
function start(
  lab: TestLab,
  ...args: string[]
): { readonly child: ChildProcess; readonly ended: Promise<unknown> } {
  const child = spawn(FLATNET, ['lab', ...args, '--lab', lab.name], { stdio: 'ignore' });
  return { child, ended: once(child, 'exit').then(([status]) => status) };
}

/** Starts a command and kills it after some milliseconds, unless it has ended by then. */
async function killed(lab: TestLab, after: number, ...args: string[]): Promise<void> {
  const { child, ended } = start(lab, ...args);
  await sleep(after);
  child.kill('SIGKILL');
  await ended;
}

/** Everything that might be left of a node. */
function remains(lab: TestLab, node: string): readonly string[] {
  const { namespaces, mounts } = traces(lab.name);
  const ports = ip(`${lab.name}-underlay`, '-brief', 'link', 'show', 'type', 'veth').match(/port\d+/g) ?? [];
  const { nodes } = Lab.open(lab.name);
  return [
    ...[...namespaces, ...mounts].filter((each) => each.includes(`${lab.name}-${node}`)),
    ...ports.filter((port) => !nodes.some(({ index }) => port === `port${index}`)),
    ...nodes.filter(({ name }) => name === node).map(({ name }) => `record of ${name}`),
  ];
}

test('a node is deleted wherever SIGKILL met its `add`', { skip: CANNOT }, async (t) => {
  const lab = new TestLab(t, 'k');
  const seed = Number(process.env.FLATNET_SEED ?? Date.now() % 1_000_000);
  t.diagnostic(`FLATNET_SEED=${seed}`);
  const random = new Random(seed);
  await lab.ok('up', '--nodes', '1');
  const manifest = join('/tmp', `everywhere-${process.pid}.yaml`);
  t.after(() => rmSync(manifest, { force: true }));
  // So that an `add` also creates a pod.
  writeFileSync(
    manifest,
    `apiVersion: apps/v1
kind: DaemonSet
metadata: { name: everywhere }
spec:
  selector: { matchLabels: { app: x } }
  template: { metadata: { labels: { app: x } }, spec: { containers: [ { name: c, image: pause } ] } }
`,
  );
  await lab.ok('apply', '-f', manifest);

  // The earliest moment: only the record is there.
  await Lab.change(lab.name, async (open) => {
    open.update({ nodes: [...open.nodes, { name: 'edge', index: 2, subnet: 0 }] });
  });
  await lab.ok('node', 'delete', 'edge');
  assert.deepEqual(remains(lab, 'edge'), []);

  const begun = performance.now();
  await lab.ok('node', 'add', 'edge');
  const whole = performance.now() - begun;
  await lab.ok('node', 'delete', 'edge');
  for (let round = 0; round < 12; round++) {
    const after = Math.round(whole * (0.1 + 0.9 * random.next()));
    await t.test(`add, killed after ${after} ms`, async () => {
      await killed(lab, after, 'node', 'add', 'edge');
      const isThere = Lab.open(lab.name).nodes.some(({ name }) => name === 'edge');
      if (!isThere) return;
      // The deletion may meet the same fate.
      if (round % 3 === 0) await killed(lab, whole * 0.5 * random.next(), 'node', 'delete', 'edge');
      if (Lab.open(lab.name).nodes.some(({ name }) => name === 'edge'))
        await lab.ok('node', 'delete', 'edge');
      assert.deepEqual(remains(lab, 'edge'), []);
      const { problems, leases } = await lab.json<{ problems: string[]; leases: unknown[] }>('status');
      assert.deepEqual([problems, leases.length], [[], 1]);
    });
  }
  await killed(lab, whole * random.next(), 'node', 'add', 'edge');
  await lab.ok('down');
  assert.deepEqual(traces(lab.name), NOTHING);
});

test('a node cannot be deleted while the store is stopped, and can afterwards', {
  skip: CANNOT,
}, async (t) => {
  const lab = new TestLab(t, 'q');
  await lab.ok('up', '--nodes', '2');
  await lab.ok('store', 'stop');
  const { status, stderr } = await lab.run('node', 'delete', 'node2');
  assert.equal(status, 1);
  assert.match(stderr, /the store is not running; start it: flatnet lab store start --lab /);
  await lab.ok('store', 'start');
  await lab.ok('node', 'delete', 'node2');
  assert.deepEqual(remains(lab, 'node2'), []);
});

for (const [what, ...command] of [
  ['start', 'node', 'start', 'node1'],
  ['restart', 'node', 'restart', 'node1'],
  ['add', 'node', 'add'],
] as const) {
  test(`\`node ${what}\` waits for the store without keeping others from starting it`, {
    skip: CANNOT,
  }, async (t) => {
    const lab = new TestLab(t, what);
    await lab.ok('up', '--nodes', '1');
    await lab.ok('store', 'stop');
    if (what !== 'add') {
      if (what === 'start') await lab.ok('node', 'stop', 'node1');
      // Without its last view of the cluster, as on a new disk, the agent has to ask the store.
      rmSync(new LabPaths(lab.name).node('node1').agent.state, { recursive: true });
    }
    const { child, ended } = start(lab, ...command);
    await sleep(2000);
    assert.equal(child.exitCode, null, 'did not wait');
    const begun = performance.now();
    await lab.ok('store', 'start');
    assert.ok(performance.now() - begun < 20_000, 'the store had to wait');
    assert.equal(await ended, 0);
    // The agents that ran all along try the store again within seconds.
    const healthy = async (): Promise<true | undefined> =>
      (await lab.run('status')).status === 0 ? true : undefined;
    const healed = await poll(healthy, { every: 200, patience: 20_000 });
    assert.equal(healed, true, (await lab.run('status')).stdout);
  });
}
