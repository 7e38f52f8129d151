import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { API_VERSION, type Document } from '../../../src/cluster/calico/document.ts';
import { readNetwork } from '../../../src/cluster/network.ts';
import { parseIp } from '../../../src/ip/address.ts';
import { parseCidr } from '../../../src/ip/cidr.ts';
import { newBlock, take } from '../../../src/ipam/blocks/block.ts';
import type { KubernetesClient } from '../../../src/kubernetes/api/client.ts';
import { list } from '../../../src/kubernetes/api/list.ts';
import { KubernetesBlocks } from '../../../src/store/kubernetes/blocks.ts';
import { RESOURCE_TYPES } from '../../../src/store/kubernetes/crds.ts';
import { unchecked } from '../../../src/store/kubernetes/resource-object.ts';
import { KubernetesResources } from '../../../src/store/kubernetes/resources.ts';
import { ApiServer, forSuite, NO_API_SERVER } from '../../kubernetes/api-server.ts';
import { applyCrds, wipeOurs } from './crds.ts';

const pool = (name: string, cidr: string, spec: object = {}): Document => ({
  apiVersion: API_VERSION,
  kind: 'IPPool',
  metadata: { name },
  spec: { cidr, ...spec },
});
const peer: Document = {
  apiVersion: API_VERSION,
  kind: 'BGPPeer',
  metadata: { name: 'rack' },
  spec: { peerSelector: 'all()' },
};
const NETWORK = readNetwork({
  Network: '10.5.0.0/16',
  Backend: { Type: 'bgp' },
  addresses: 'blocks',
  wiring: 'routed',
});
const fail = (problem: string): never => assert.fail(problem);

describe('resources in the Kubernetes API', { skip: NO_API_SERVER }, () => {
  let server: ApiServer;
  let admin: KubernetesClient;
  const life = forSuite();
  before(async () => {
    server = await ApiServer.start(life);
    admin = server.client(life);
    await applyCrds(admin);
  });
  const open = async (): Promise<{ blocks: KubernetesBlocks; resources: KubernetesResources }> => {
    await wipeOurs(admin);
    const blocks = new KubernetesBlocks(admin);
    const node = { name: 'node1', addresses: { 4: parseIp('192.0.2.1') } };
    return { blocks, resources: new KubernetesResources(admin, blocks, async () => [node]) };
  };

  test('they are applied, changed, read, listed and deleted; concurrent changes are not overwritten', async () => {
    const { resources } = await open();
    assert.equal(await resources.apply(pool('a', '10.0.0.0/16')), 'created');
    assert.equal(await resources.apply(pool('a', '10.0.0.0/16')), 'unchanged');
    const first = await resources.get('IPPool', 'a');
    assert.equal(await resources.apply(first.document), 'unchanged', 'its own text');
    assert.equal(await resources.apply(pool('a', '10.0.0.0/16', { disabled: true })), 'configured');
    const { document } = await resources.get('IPPool', 'a');
    assert.deepEqual(document.spec, { cidr: '10.0.0.0/16', disabled: true });
    const stale = { ...first.document, spec: { cidr: '10.0.0.0/16', natOutgoing: true } };
    await assert.rejects(resources.apply(stale), { code: 'STORE_CONFLICT' });
    assert.equal(await resources.apply(peer), 'created');
    const node = {
      ...peer,
      kind: 'Node',
      metadata: { name: 'node1' },
      spec: { bgp: { asNumber: '1.5' } },
    } as const;
    assert.equal(await resources.apply(node), 'created');
    const names = async (...kinds: ('IPPool' | 'BGPPeer')[]): Promise<string[]> =>
      (await resources.list(kinds[0], fail)).map((each) => each.document.metadata.name);
    assert.deepEqual(await names('IPPool'), ['a']);
    assert.deepEqual(await names(), ['rack', 'a', 'node1']);
    await resources.delete('IPPool', 'a');
    await assert.rejects(resources.delete('IPPool', 'a'), { code: 'NOT_FOUND' });
    await assert.rejects(resources.get('IPPool', 'a'), { code: 'NOT_FOUND' });
    assert.equal(await resources.apply(first.document), 'created', 'the version of a deleted resource');
  });

  test('a pool keeps its CIDR and blockSize, and overlaps no other pool and no node', async () => {
    const { resources } = await open();
    await resources.apply(pool('a', '10.0.0.0/16'));
    const refused = (document: Document): Promise<void> =>
      assert.rejects(resources.apply(document), { code: 'CONFIG_INVALID' });
    await refused(pool('a', '10.1.0.0/16'));
    await refused(pool('a', '10.0.0.0/16', { blockSize: 28 }));
    await refused(pool('b', '10.0.1.0/24'));
    await refused(pool('b', '192.0.2.0/24'));
    const spec = { cidr: '10.1.0.0/16' };
    const cidr = admin.patch(RESOURCE_TYPES.IPPool, { name: 'a' }, 'merge', { spec });
    await assert.rejects(cidr, { code: 'STORE_REFUSED', message: /cidr cannot change/ });
    const size = admin.patch(RESOURCE_TYPES.IPPool, { name: 'a' }, 'merge', { spec: { blockSize: 28 } });
    await assert.rejects(size, { code: 'STORE_REFUSED', message: /blockSize cannot change/ });
  });

  test('of overlapping pools applied at once, one is created', async () => {
    const { resources } = await open();
    for (let round = 0; round < 4; round++) {
      const made = await Promise.allSettled(
        Array.from({ length: 5 }, (_, i) =>
          resources.apply(pool(`p${round}-${i}`, `10.${round}.0.0/${16 + i}`)),
        ),
      );
      assert.equal(made.filter(({ status }) => status === 'fulfilled').length, 1);
      for (const each of made)
        if (each.status === 'rejected') assert.equal(each.reason.code, 'CONFIG_INVALID');
    }
    const { items } = await list(admin, RESOURCE_TYPES.IPPool, ({ metadata }) => metadata.annotations);
    assert.deepEqual(items, [], 'nothing is left of the others');
  });

  test('a pool whose creation was cut off does not count, and gives way', async () => {
    const { resources } = await open();
    const left = unchecked({ metadata: { name: 'left' }, spec: { cidr: '10.0.0.0/16' } });
    await admin.create(RESOURCE_TYPES.IPPool, left);
    assert.deepEqual(await resources.list('IPPool', fail), []);
    await assert.rejects(resources.get('IPPool', 'left'), { code: 'NOT_FOUND' });
    assert.equal(await resources.apply(pool('left', '10.0.0.0/16')), 'created', 'under the same name');
    await resources.delete('IPPool', 'left');
    await admin.create(RESOURCE_TYPES.IPPool, left);
    for (let i = 0; i < 5; i++) {
      assert.equal(await resources.apply(pool('b', '10.0.0.0/16')), 'created');
      await resources.delete('IPPool', 'b');
    }
  });

  test('one that would win against every other gives way, too', async () => {
    const { resources } = await open();
    const left = unchecked({ metadata: { name: 'left' }, spec: { cidr: '10.0.0.0/16' } });
    const { metadata } = await admin.create(RESOURCE_TYPES.IPPool, left);
    await server.rewrite('/registry/flatnet.dev/ippools/left', (stored) =>
      stored.replace(`${metadata.uid}`, '00000000-0000-4000-8000-000000000000'),
    );
    assert.equal(await resources.apply(pool('b', '10.0.0.0/16')), 'created');
  });

  test('a pool in use is deleted only by force', async () => {
    const { resources, blocks } = await open();
    await resources.apply(pool('a', '10.0.0.0/16'));
    const empty = newBlock(parseCidr('10.0.0.64/26'), 'node1', 1);
    const created = (await blocks.createBlock(empty)) ?? fail('it exists');
    await assert.rejects(resources.delete('IPPool', 'a'), { code: 'IN_USE' });
    await resources.apply(pool('a', '10.0.0.0/16', { disabled: true }));
    await blocks.replaceBlock(created, take(empty, 3, { handle: 'h', node: 'node1' }, 2));
    await assert.rejects(resources.delete('IPPool', 'a'), { code: 'IN_USE', message: /1 pod/ });
    await resources.delete('IPPool', 'a', true);
  });

  test('default pools are created once', async () => {
    const { resources, blocks } = await open();
    await Promise.all(Array.from({ length: 5 }, () => resources.createDefaultPools(NETWORK)));
    const [only, ...more] = await resources.list('IPPool', fail);
    assert.deepEqual(more, []);
    assert.equal(only?.document.metadata.name, 'default-ipv4-ippool');
    await blocks.configure({ cooldown: 5 });
    await resources.delete('IPPool', 'default-ipv4-ippool');
    await resources.createDefaultPools(NETWORK);
    assert.deepEqual(await resources.list('IPPool', fail), []);
  });

  test('a resource that cannot be read is reported and left out', async () => {
    const { resources } = await open();
    await resources.apply(peer);
    const spec = { peerSelector: 'rack == ' };
    await admin.create(RESOURCE_TYPES.BGPPeer, { metadata: { name: 'bad' }, spec });
    const warnings: string[] = [];
    const found = await resources.list('BGPPeer', (problem) => warnings.push(problem));
    assert.deepEqual(
      found.map(({ document }) => document.metadata.name),
      ['rack'],
    );
    assert.match(warnings.join(), /^BGPPeer\/bad is ignored: /);
    await assert.rejects(resources.get('BGPPeer', 'bad'), { code: 'CONFIG_INVALID' });
  });
});
