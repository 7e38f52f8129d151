import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { parse } from 'yaml';
import { allProcesses, argvOf } from '../../../src/linux/process.ts';
import { renderManifest } from '../../../tools/manifest/render.ts';
import { eventually } from '../../store/servers.ts';
import { forSuite } from '../api-server.ts';
import { assertAllIsWell } from './chores.ts';
import { KubeletCluster, type Pod } from './cluster.ts';
import { NO_KUBELETS } from './component.ts';
import { PODS } from './networks.ts';
import type { KubeletNode } from './node.ts';
import { answers, assertAllReachAll, assertNoneLost, CURL, pingsBetween } from './traffic.ts';
import { deployment } from './workload.ts';

const ROOT = resolve(import.meta.dirname, '../../..');
const IN = ['-n', 'kube-flannel'] as const;
const VXLAN = { Network: PODS[4], Backend: { Type: 'vxlan' } };
const { network: BGP } = parse(readFileSync(join(ROOT, 'deploy/helm/flatnet/values-bgp.yaml'), 'utf8'));

const folder = mkdtempSync(join(tmpdir(), 'flatnet-image-'));
before(() => {
  if (!NO_KUBELETS) execFileSync(join(ROOT, 'scripts/image'), ['--output', folder], { stdio: 'pipe' });
});
after(() => rmSync(folder, { recursive: true }));

async function start(suite: ReturnType<typeof forSuite>, network: object) {
  const arch = process.arch === 'x64' ? 'amd64' : process.arch;
  const image = join(folder, `flatnet-${arch}.tar`);
  const cluster = await KubeletCluster.start(suite, { network, nodes: 2, image });
  await cluster.plane.apply(deployment('web', 4));
  return { cluster, web: await cluster.pods('web', 4) };
}

/** That pods reach each other, and agents have all the rights they need. */
async function assertWorks(cluster: KubeletCluster, web: readonly Pod[]): Promise<void> {
  await assertAllReachAll(cluster, web);
  await assertAllIsWell(cluster);
  for (const node of cluster.nodes) {
    await answers(() => node.exec(...CURL, 'http://127.0.0.1:8081/readyz'), /^flatnet is ready\n$/);
  }
}

async function rollOut(cluster: KubeletCluster): Promise<void> {
  await cluster.plane.kubectl('rollout', 'restart', ...IN, 'daemonset/kube-flatnet-ds');
  await cluster.plane.kubectl('rollout', 'status', '--timeout=300s', ...IN, 'daemonset/kube-flatnet-ds');
}

describe('agents from the image and the manifest', { skip: NO_KUBELETS }, () => {
  const suite = forSuite();
  let cluster: KubeletCluster;
  let web: readonly Pod[] = [];
  before(async () => {
    ({ cluster, web } = await start(suite, VXLAN));
  });

  test('pods reach each other, and agents have all the rights they need', () => assertWorks(cluster, web));

  test('kubectl flatnet shows the nodes, and asks their agents', async () => {
    // A kubelet may be late with its probe.
    await answers(() => cluster.kubectlFlatnet('status', '--json'), /"agent": "ready"/);
    const status = JSON.parse(await cluster.kubectlFlatnet('status', '--json')) as { agent: string }[];
    assert.deepEqual(
      status.map(({ agent }) => agent),
      cluster.nodes.map(() => 'ready'),
    );
    for (const { name } of cluster.nodes) {
      const own = JSON.parse(await cluster.kubectlFlatnet('node', name, '--', 'status', '--json'));
      assert.deepEqual([own.node, own.ready], [name, true]);
    }
  });

  test('the DaemonSet is rolled out again under ping: no packet is lost', async (t) => {
    const pings = await pingsBetween(t, cluster, web);
    await rollOut(cluster);
    await assertNoneLost(pings);
  });
});

describe('with BGP, BIRD has pods of its own', { skip: NO_KUBELETS }, () => {
  const suite = forSuite();
  let cluster: KubeletCluster;
  let web: readonly Pod[] = [];
  before(async () => {
    ({ cluster, web } = await start(suite, BGP));
  });

  const birds = () => Promise.all(cluster.nodes.map((node) => processOf(node, 'bird')));
  const settled = async (): Promise<void> => {
    for (const node of cluster.nodes) {
      const isWell = ({ ready, problems }: Awaited<ReturnType<KubeletNode['status']>>) =>
        ready && problems.length === 0;
      await eventually(() => node.status().then(isWell, () => false), 120_000);
    }
  };

  test('pods reach each other, and agents have all the rights they need', () => assertWorks(cluster, web));

  test('the DaemonSet is rolled out again under ping: BIRD runs on, and no packet is lost', async (t) => {
    const before = await birds();
    assert.ok(before.every(Boolean));
    const pings = await pingsBetween(t, cluster, web);
    await rollOut(cluster);
    assert.deepEqual(await birds(), before);
    await assertNoneLost(pings);
    await assertWorks(cluster, web);
  });

  test('an agent’s container is killed, then BIRD, then both: no packet is lost', async (t) => {
    const pings = await pingsBetween(t, cluster, web);
    const [node] = cluster.nodes;
    assert.ok(node);
    for (const victims of [['agent'], ['bird'], ['agent', 'bird']]) {
      const before = await birds();
      for (const word of victims) {
        process.kill(await eventually(() => processOf(node, word)), 'SIGKILL');
      }
      await eventually(async () => {
        const now = await birds();
        return now.every(Boolean) && (now[0] !== before[0]) === victims.includes('bird');
      }, 120_000);
      await settled();
    }
    await assertNoneLost(pings);
    await assertWorks(cluster, web);
  });

  test('BIRD’s pods are replaced one by one: no packet is lost', async (t) => {
    const pings = await pingsBetween(t, cluster, web);
    for (const [i, node] of cluster.nodes.entries()) {
      const before = (await birds())[i];
      const on = ['-l', 'app=flatnet-bird', '--field-selector', `spec.nodeName=${node.name}`];
      await cluster.plane.kubectl('delete', 'pod', ...IN, ...on);
      await eventually(async () => ![before, undefined].includes((await birds())[i]), 120_000);
      await settled();
    }
    await assertNoneLost(pings);
    await assertWorks(cluster, web);
  });
});

/** The one process of a node that has this word in its command line: what the machine calls it. */
async function processOf(node: KubeletNode, word: string): Promise<number | undefined> {
  const netns = Number(await node.exec('stat', '-Lc', '%i', '/proc/1/ns/net'));
  const found = [...allProcesses()].filter(
    ({ pid, netnsId }) => netnsId === netns && argvOf(pid).includes(word),
  );
  return found.length === 1 ? found[0]?.pid : undefined;
}

test('deploy/flatnet.yaml is what the chart renders to', { skip: NO_KUBELETS }, () => {
  const fix = 'the chart has changed: run scripts/manifest';
  assert.equal(readFileSync(join(ROOT, 'deploy/flatnet.yaml'), 'utf8'), renderManifest(), fix);
});
