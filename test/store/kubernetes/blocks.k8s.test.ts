import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { parseCidr } from '../../../src/ip/cidr.ts';
import { newBlock } from '../../../src/ipam/blocks/block.ts';
import { BlockAssigner } from '../../../src/ipam/blocks/block-assigner.ts';
import { findings } from '../../../src/ipam/blocks/check.ts';
import type { KubernetesClient } from '../../../src/kubernetes/api/client.ts';
import { SILENT } from '../../../src/log.ts';
import { KubernetesBlocks } from '../../../src/store/kubernetes/blocks.ts';
import { BLOCK_AFFINITIES, IPAM_BLOCKS } from '../../../src/store/kubernetes/crds.ts';
import { affinityName, cidrName } from '../../../src/store/kubernetes/names.ts';
import { KubernetesStore } from '../../../src/store/kubernetes/store.ts';
import { crashPoints } from '../../ipam/blocks/crash-points.ts';
import { pool } from '../../ipam/blocks/plan.ts';
import { ApiServer, CRDS, forSuite, NO_API_SERVER } from '../../kubernetes/api-server.ts';
import { blocksConformance } from '../ports/blocks.ts';
import { eventually } from '../servers.ts';
import { applyCrds, wipeOurs } from './crds.ts';

describe('blocks in the Kubernetes API', { skip: NO_API_SERVER }, () => {
  let server: ApiServer;
  let admin: KubernetesClient;
  const life = forSuite();
  before(async () => {
    server = await ApiServer.start(life);
    admin = server.client(life);
    await applyCrds(admin);
  });

  blocksConformance(async (t) => {
    await wipeOurs(admin);
    const open = (): KubernetesStore => {
      const store = new KubernetesStore(server.access(), {}, SILENT);
      t.after(() => store.close());
      return store;
    };
    return { open };
  });

  crashPoints('killed between any two steps', async () => {
    await wipeOurs(admin);
    return new KubernetesBlocks(admin);
  });

  test('nodes that claim at once never share an address', async (t) => {
    await wipeOurs(admin);
    const ipPools = [pool('p', '10.1.0.0/27', 29)];
    const nodes = Array.from(
      { length: 8 },
      (_, i) =>
        new BlockAssigner({
          store: new KubernetesBlocks(server.client(t)),
          node: `node${i}`,
          nodeLabels: () => ({}),
          resources: () => ({ ipPools, ipReservations: [] }),
          clock: () => 1_700_000_000_000,
        }),
    );
    const requests = nodes.flatMap((node, i) =>
      Array.from({ length: 4 }, (_, k) =>
        node.assign({ handle: `h${i}-${k}`, families: [4], attributes: {} }),
      ),
    );
    const got = (await Promise.all(requests)).flatMap((each) => each.map(({ ip }) => ip));
    assert.equal(new Set(got).size, 32, 'the whole pool, each address once');
    const snapshot = await new KubernetesBlocks(admin).snapshot();
    assert.deepEqual(
      findings(snapshot).filter(({ severity }) => severity === 'error'),
      [],
    );
  });

  test('objects that cannot be read are reported and left out', async () => {
    await wipeOurs(admin);
    const blocks = new KubernetesBlocks(admin);
    const cidr = parseCidr('10.1.0.0/29');
    const good = await blocks.createBlock(newBlock(cidr, 'node1', 1));
    const announced = await blocks.announce('node1', cidr);
    const spec = { cidr: '10.1.0.8/29', node: 'node2', sequence: 1, changed: 1 };
    await admin.create(IPAM_BLOCKS, { metadata: { name: 'second-name' }, spec });
    const affinity = { node: 'node1', cidr: '10.1.0.8/29', state: 'pending' };
    await admin.create(BLOCK_AFFINITIES, { metadata: { name: 'other' }, spec: affinity });
    const snapshot = await blocks.snapshot();
    assert.deepEqual(snapshot.blocks, [good]);
    assert.deepEqual(await blocks.affinities('node1'), [announced]);
    assert.deepEqual(snapshot.unreadable.map(({ object }) => object).sort(), [
      'BlockAffinity/other',
      'IPAMBlock/second-name',
    ]);
  });

  test('the time of the update that an ADD makes', async (t) => {
    await wipeOurs(admin);
    const assigner = new BlockAssigner({
      store: new KubernetesBlocks(admin),
      node: 'node1',
      nodeLabels: () => ({}),
      resources: () => ({ ipPools: [pool('p', '10.1.0.0/24', 26)], ipReservations: [] }),
      clock: () => Date.now(),
    });
    const times: number[] = [];
    for (let i = 0; i < 60; i++) {
      const begun = performance.now();
      await assigner.assign({ handle: `h${i}`, families: [4], attributes: {} });
      times.push(performance.now() - begun);
    }
    times.sort((a, b) => a - b);
    t.diagnostic(
      `an address took ${times[30]?.toFixed(1)} ms at the median, ${times[57]?.toFixed(1)} at p95`,
    );
  });

  test('without the CRDs it is said what to install', async () => {
    const name = 'ipamhandles.flatnet.dev';
    await admin.delete(CRDS, { name });
    const read = (): Promise<unknown> => new KubernetesBlocks(admin).handles(['h']);
    await eventually(() =>
      read().then(
        () => false,
        () => true,
      ),
    );
    await assert.rejects(read(), {
      code: 'KIND_UNKNOWN',
      fix: /install the CustomResourceDefinition ipamhandles\.flatnet\.dev/,
    });
  });
});

test('networks and affinities have names that Kubernetes allows, each its own', () => {
  const cidrs = ['10.0.0.0/26', 'fd00::40/122', '::40/122', 'fd00::/64', '1::/122'].map(parseCidr);
  const names = cidrs.map(cidrName);
  assert.deepEqual(names, ['10-0-0-0-26', 'fd00--40-122', '0--40-122', 'fd00---64', '1---122']);
  const long = affinityName(`${'a'.repeat(250)}.b`, parseCidr('10.0.0.0/26'));
  for (const name of [...names, long]) {
    assert.match(name, /^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/);
    assert.ok(name.length <= 253);
  }
});
