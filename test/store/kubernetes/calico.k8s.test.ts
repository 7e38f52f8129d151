import assert from 'node:assert/strict';
import { before, describe, type TestContext, test } from 'node:test';
import type { KubernetesClient } from '../../../src/kubernetes/api/client.ts';
import { list } from '../../../src/kubernetes/api/list.ts';
import { type Log, SILENT } from '../../../src/log.ts';
import { CALICO_TYPES, type CalicoKind, RESOURCE_TYPES } from '../../../src/store/kubernetes/crds.ts';
import { NODES } from '../../../src/store/kubernetes/kinds.ts';
import { KubernetesStore } from '../../../src/store/kubernetes/store.ts';
import type { ClusterView } from '../../../src/store/ports/feed.ts';
import { fileOf } from '../../../src/transfer/contents.ts';
import { exportStore } from '../../../src/transfer/export.ts';
import { readContents } from '../../../src/transfer/read.ts';
import { ApiServer, forSuite, NO_API_SERVER } from '../../kubernetes/api-server.ts';
import { BLOCKS, facts } from '../ports/facts.ts';
import { eventually } from '../servers.ts';
import { applyCalicoCrds, deleteCalicoCrds } from './calico-crds.ts';
import { applyCrds, wipeOurs } from './crds.ts';
import { agentToken, allowCalico, NAMESPACE } from './rights.ts';

/** As Calico's operator writes it. */
const POOL = {
  allowedUses: ['Workload', 'Tunnel'],
  assignmentMode: 'Automatic',
  blockSize: 26,
  cidr: '192.168.0.0/16',
  ipipMode: 'Never',
  natOutgoing: true,
  nodeSelector: 'all()',
  vxlanMode: 'Never',
};
/** "Within a minute or so." */
const NOTICED = 60_000;

describe('Calico’s own objects', { skip: NO_API_SERVER }, () => {
  let server: ApiServer;
  let admin: KubernetesClient;
  let token: string;
  const life = forSuite();
  before(async () => {
    server = await ApiServer.start(life);
    admin = server.client(life);
    await applyCrds(admin);
    token = await agentToken(admin);
    await admin.create(NODES, { metadata: { name: 'node1' } });
  });

  const create = (kind: CalicoKind, name: string, spec: object): Promise<unknown> =>
    admin.create(CALICO_TYPES[kind], { metadata: { name }, spec: { ...spec } });

  /** What an agent sees, and logs. */
  async function watch(
    t: TestContext,
  ): Promise<{ store: KubernetesStore; view: () => ClusterView | undefined; logged: string[] }> {
    const logged: string[] = [];
    const write = (...words: unknown[]): void => void logged.push(JSON.stringify(words));
    const log: Log = { debug: () => {}, info: () => {}, warn: write, error: write };
    const operator = new KubernetesStore(server.access(), { namespace: NAMESPACE }, log);
    await operator.network.write(BLOCKS);
    operator.close();
    const store = new KubernetesStore(server.access(token), { namespace: NAMESPACE }, log);
    const ended = new AbortController();
    t.after(() => {
      ended.abort();
      store.close();
    });
    let last: ClusterView | undefined;
    void (async () => {
      for await (const view of store.feed.watch(ended.signal)) last = view;
    })();
    return { store, view: () => last, logged };
  }

  test('where they are not ours to read, no default pool puts them out of force', async (t) => {
    await wipeOurs(admin);
    const { store, logged } = await watch(t);
    const pools = async (): Promise<readonly unknown[]> =>
      (await list(admin, RESOURCE_TYPES.IPPool, (each) => each)).items;
    await applyCalicoCrds(admin);
    (await store.membership.join(facts(1))).stop();
    assert.deepEqual(await pools(), []);
    assert.match(logged.join('\n'), /rbac\/calico\.yaml.*no default pool is created/);
    await deleteCalicoCrds(admin);
    await eventually(async () => {
      (await store.membership.join(facts(1))).stop();
      return (await pools()).length > 0;
    });
  });

  test('count where there are none of ours, come and go with their definitions, and are never fatal', async (t) => {
    await wipeOurs(admin);
    const { store, view, logged } = await watch(t);
    const pools = (): string[] | undefined => view()?.resources.ipPools.map(({ name }) => name);
    await eventually(() => `${pools()}` === '');
    assert.deepEqual([store.feed.problems, logged], [[], []], 'a cluster without Calico is a quiet one');

    await applyCalicoCrds(admin);
    await create('IPPool', 'calicos', POOL);
    await create('IPPool', 'future', { ...POOL, cidr: '192.169.0.0/16', quantum: { entangled: true } });
    await create('IPPool', 'nonsense', { cidr: '\u001b[31m everything' });
    await create('IPPool', 'tunnels', { ...POOL, cidr: '192.170.0.0/16', vxlanMode: 'Always' });
    await create('BGPConfiguration', 'default', { asNumber: 64600, logSeverityScreen: 'Info' });
    await create('BGPConfiguration', 'node.node1', { logSeverityScreen: 'Debug' });
    await create('BGPPeer', 'tor', { peerIP: '192.0.2.9', asNumber: 64700 });
    await allowCalico(admin);
    await eventually(() => `${pools()}` === 'calicos,future', NOTICED);
    await eventually(() => view()?.resources.bgpConfiguration.asNumber === 64_600);
    await eventually(() => view()?.resources.bgpPeers[0]?.peerIp === '192.0.2.9');
    const problems = store.feed.problems.map(({ what, cause }) => `${what}: ${cause}`);
    assert.equal(problems.length, 4, problems.join('\n'));
    const has = (pattern: RegExp): void => assert.match(problems.join('\n'), pattern);
    has(/^a field of Calico’s IPPool future is ignored: IPPool\/future spec\.quantum$/m);
    has(/^Calico’s IPPool nonsense is ignored: .*spec\.cidr/m);
    has(/^Calico’s IPPool tunnels is ignored: .*spec\.vxlanMode: "Always" is not supported/m);
    has(/^Calico’s BGPConfiguration node\.node1 is ignored: .*name/m);
    assert.ok(!problems.join('').includes('\u001b'), 'foreign text cannot steer a terminal');

    const listed = await store.resources.list('IPPool', () => {});
    assert.deepEqual(
      listed.map(({ document, foreign }) => [document.metadata.name, foreign]),
      [
        ['calicos', true],
        ['future', true],
      ],
    );
    const claim = await store.membership.join(facts(1));
    claim.stop();
    const { items } = await list(admin, RESOURCE_TYPES.IPPool, ({ metadata }) => metadata.name);
    assert.deepEqual(items, [], 'no default pool takes their place');

    const operator = new KubernetesStore(server.access(), { namespace: NAMESPACE }, SILENT);
    t.after(() => operator.close());
    const { contents, leftOut } = await exportStore(operator);
    assert.match(leftOut.join('\n'), /Calico’s IPPool\/future: ignored: IPPool\/future spec\.quantum/);
    const { resources } = readContents(JSON.parse(JSON.stringify(fileOf(contents))), () => {});
    const exported = resources.map(({ kind, metadata }) => `${kind}/${metadata.name}`);
    assert.deepEqual(exported, [
      'BGPConfiguration/default',
      'BGPPeer/tor',
      'IPPool/calicos',
      'IPPool/future',
    ]);
    const [first] = listed;
    assert.ok(first);
    assert.equal(await operator.resources.apply(first.document), 'created', 'a copy is ours');
    await eventually(() => `${pools()}` === 'calicos');
    assert.equal(view()?.resources.bgpConfiguration.asNumber, 64_600, 'of other kinds, Calico’s still count');
    await operator.resources.delete('IPPool', 'calicos', true);
    await eventually(() => `${pools()}` === 'calicos,future');

    await admin.patch(CALICO_TYPES.IPPool, { name: 'calicos' }, 'merge', { spec: { disabled: true } });
    await eventually(() => view()?.resources.ipPools[0]?.disabled);

    assert.ok(!logged.some((line) => line.includes('cannot be watched')), logged.join('\n'));

    await deleteCalicoCrds(admin);
    await eventually(() => `${pools()}` === '' && view()?.resources.bgpPeers.length === 0);
    // Definitions must be missing for a minute: a server that has just started lacks them, too.
    await eventually(() => store.feed.problems.length === 0, 180_000);
    assert.equal(view()?.resources.bgpConfiguration.asNumber, 64_512);
  });
});
