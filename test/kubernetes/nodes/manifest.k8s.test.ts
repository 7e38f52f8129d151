import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { before, describe, test } from 'node:test';
import { renderManifest } from '../../../tools/manifest/render.ts';
import { forSuite } from '../api-server.ts';
import { KubeletCluster, type Pod } from './cluster.ts';
import { NO_KUBELETS } from './component.ts';
import { POD_NETWORKS } from './control-plane.ts';
import { assertAllReachAll, assertNoneLost, pingsBetween } from './traffic.ts';
import { deployment } from './workload.ts';

const ROOT = resolve(import.meta.dirname, '../../..');

describe('agents from the image and the manifest', { skip: NO_KUBELETS }, () => {
  const suite = forSuite();
  let cluster: KubeletCluster;
  let web: readonly Pod[] = [];
  before(async () => {
    const folder = mkdtempSync(join(tmpdir(), 'flatnet-image-'));
    suite.after(() => rmSync(folder, { recursive: true }));
    execFileSync(join(ROOT, 'scripts/image'), ['--output', folder], { stdio: 'pipe' });
    const arch = process.arch === 'x64' ? 'amd64' : process.arch;
    const network = { Network: POD_NETWORKS[0], Backend: { Type: 'vxlan' } };
    const image = join(folder, `flatnet-${arch}.tar`);
    cluster = await KubeletCluster.start(suite, { network, nodes: 2, image });
    await cluster.plane.apply(deployment('web', 4));
    web = await cluster.pods('web', 4);
  });

  test('pods reach each other, and agents have all the rights they need', async () => {
    await assertAllReachAll(cluster, web);
    for (const node of cluster.nodes) {
      assert.deepEqual((await node.status()).problems, [], node.name);
      assert.equal(await node.diff(), '[]', node.name);
      assert.equal(await node.exec('curl', '-s', 'http://127.0.0.1:8081/readyz'), 'flatnet is ready\n');
    }
  });

  test('the DaemonSet is rolled out again under ping: no packet is lost', async (t) => {
    const pings = await pingsBetween(t, cluster, web);
    const of = ['-n', 'kube-flannel', 'daemonset/kube-flatnet-ds'];
    await cluster.plane.kubectl('rollout', 'restart', ...of);
    await cluster.plane.kubectl('rollout', 'status', '--timeout=120s', ...of);
    await assertNoneLost(pings);
  });
});

test('deploy/flatnet.yaml is what the chart renders to', { skip: NO_KUBELETS }, () => {
  const fix = 'the chart has changed: run scripts/manifest';
  assert.equal(readFileSync(join(ROOT, 'deploy/flatnet.yaml'), 'utf8'), renderManifest(), fix);
});
