import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { ApiError } from '../../../src/kubernetes/api/api-error.ts';
import type { KubernetesClient } from '../../../src/kubernetes/api/client.ts';
import { asJson, type KubernetesObject } from '../../../src/kubernetes/api/object.ts';
import type { ResourceType } from '../../../src/kubernetes/api/resource.ts';
import { change } from '../../../src/kubernetes/change.ts';
import { LEASES } from '../../../src/kubernetes/election/lease-record.ts';
import { eventually } from '../../store/servers.ts';
import { ApiServer, CONFIG_MAPS, forSuite, NAMESPACES, NO_API_SERVER, NODES } from '../api-server.ts';
import { Relay } from '../relay.ts';
import { serviceAccount } from '../service-account.ts';

const at = (name: string) => ({ namespace: 'default', name });

describe('verbs on a real API server', { skip: NO_API_SERVER }, () => {
  let server: ApiServer;
  let admin: KubernetesClient;
  const suite = forSuite();
  before(async () => {
    server = await ApiServer.start(suite);
    admin = server.client(suite);
  });

  test('create, get, replace, patch, delete', async () => {
    const created = await admin.create(CONFIG_MAPS, { metadata: at('life'), data: { a: '1' } });
    assert.deepEqual((await admin.get(CONFIG_MAPS, at('life'))).data, { a: '1' });
    const replaced = await admin.replace(CONFIG_MAPS, { ...created, data: { b: '2' } });
    assert.deepEqual(replaced.data, { b: '2' });
    const merged = await admin.patch(CONFIG_MAPS, at('life'), 'merge', { data: { b: null, c: '3' } });
    assert.deepEqual(merged.data, { c: '3' });
    await admin.delete(CONFIG_MAPS, at('life'));
    await assert.rejects(admin.get(CONFIG_MAPS, at('life')), { code: 'NOT_FOUND' });
  });

  test('one connection serves request after request, and nothing accumulates on it', async (t) => {
    const relay = await Relay.start(server.port);
    t.after(() => relay.close());
    const client = server.client(t, { access: server.access(undefined, relay.url) });
    const warnings: Error[] = [];
    const warn = (warning: Error): void => void warnings.push(warning);
    process.on('warning', warn);
    t.after(() => process.off('warning', warn));
    for (let i = 0; i < 30; i++) await client.get(NAMESPACES, { name: 'default' });
    await new Promise(setImmediate);
    assert.deepEqual([relay.connections, warnings], [1, []]);
  });

  test('what is taken, changed, missing or unknown', async () => {
    const first = await admin.create(CONFIG_MAPS, { metadata: at('contested') });
    await assert.rejects(admin.create(CONFIG_MAPS, { metadata: at('contested') }), { code: 'STORE_EXISTS' });
    await admin.patch(CONFIG_MAPS, at('contested'), 'merge', { data: { a: '1' } });
    await assert.rejects(admin.replace(CONFIG_MAPS, first), {
      code: 'STORE_CONFLICT',
      operation: 'update',
      object: 'configmaps default/contested',
    });
    const { resourceVersion = '', uid = '' } = first.metadata;
    const stale = { metadata: { resourceVersion }, data: {} };
    await assert.rejects(admin.patch(CONFIG_MAPS, at('contested'), 'merge', stale), {
      code: 'STORE_CONFLICT',
    });
    await assert.rejects(admin.delete(CONFIG_MAPS, at('contested'), { resourceVersion }), {
      code: 'STORE_CONFLICT',
    });
    await admin.delete(CONFIG_MAPS, at('contested'), { uid });
    await assert.rejects(admin.delete(CONFIG_MAPS, at('contested')), { code: 'NOT_FOUND' });
    await assert.rejects(admin.create(CONFIG_MAPS, { metadata: { namespace: 'nowhere', name: 'a' } }), {
      code: 'NOT_FOUND',
      message: /namespaces "nowhere" not found/,
    });
    const unknown = {
      group: 'flatnet.dev',
      version: 'v1',
      plural: 'blocks',
      kind: 'Block',
      namespaced: false,
    };
    await assert.rejects(admin.get(unknown, { name: 'a' }), {
      code: 'KIND_UNKNOWN',
      fix: 'install the CustomResourceDefinition blocks.flatnet.dev with version v1',
    });
    await assert.rejects(admin.create(CONFIG_MAPS, { metadata: at('Bad_Name') }), {
      code: 'STORE_REFUSED',
      message: /metadata\.name: Invalid value: "Bad_Name"/,
    });
  });

  test('a node’s status: strategic merge keeps the conditions of others, and nothing but status and annotations changes', async () => {
    await admin.create(NODES, { metadata: { name: 'n1' }, spec: { podCIDR: '10.244.1.0/24' } });
    const condition = (type: string, status: string) => ({ type, status, reason: 'Test', message: type });
    const patch = (type: string, status: string) =>
      admin.patch(
        NODES,
        { name: 'n1' },
        'strategic',
        {
          metadata: { annotations: { 'flannel.alpha.coreos.com/backend-type': 'vxlan' } },
          spec: { unschedulable: true },
          status: { conditions: [condition(type, status)] },
        },
        { subresource: 'status' },
      );
    await patch('Ready', 'True');
    await patch('NetworkUnavailable', 'True');
    const node = await patch('NetworkUnavailable', 'False');
    const conditions = asJson(node.status).conditions as { type: string; status: string }[];
    assert.deepEqual(conditions.map(({ type, status }) => [type, status]).sort(), [
      ['NetworkUnavailable', 'False'],
      ['Ready', 'True'],
    ]);
    assert.equal(node.metadata.annotations?.['flannel.alpha.coreos.com/backend-type'], 'vxlan');
    assert.equal(asJson(node.spec).unschedulable, undefined);
  });

  test('server-side apply: owns its fields, takes others’ only by force, removes what it no longer names', async () => {
    const apply = (data: object, options: { fieldManager: string; force?: boolean }) =>
      admin.apply(CONFIG_MAPS, { metadata: at('applied'), data }, options);
    await apply({ a: '1', b: '1' }, { fieldManager: 'flatnet' });
    await assert.rejects(apply({ b: '2' }, { fieldManager: 'other' }), {
      code: 'STORE_CONFLICT',
      message: /conflict with "flatnet".*\.data\.b/s,
    });
    await apply({ b: '2' }, { fieldManager: 'other', force: true });
    assert.deepEqual((await apply({}, { fieldManager: 'flatnet' })).data, { b: '2' });
  });

  test('compare-and-swap: twenty writers at once lose nothing', async () => {
    const increment = (object: KubernetesObject | undefined): KubernetesObject => ({
      metadata: at('counter'),
      ...object,
      data: { count: String(Number(asJson(object?.data).count ?? 0) + 1) },
    });
    const writers = Array.from({ length: 20 }, async () => {
      for (;;) {
        try {
          return await change(admin, CONFIG_MAPS, at('counter'), increment);
        } catch (error) {
          // Twenty that always change the same object may well be unlucky ten times in a row.
          assert.match(String(error), /changed by others 10 times in a row/);
        }
      }
    });
    await Promise.all(writers);
    assert.deepEqual((await admin.get(CONFIG_MAPS, at('counter'))).data, { count: '20' });
    assert.equal(
      (await change(admin, CONFIG_MAPS, at('counter'), () => undefined))?.metadata.name,
      'counter',
    );
    assert.equal(await change(admin, CONFIG_MAPS, at('none'), () => undefined), undefined);
  });

  test('RBAC: the verb that is missing is named', async (t) => {
    const rules = [
      { apiGroups: [''], resources: ['nodes'], verbs: ['get', 'list', 'watch'] },
      { apiGroups: [''], resources: ['configmaps'], verbs: ['patch'] },
    ];
    const token = await serviceAccount(admin, 'agent', rules);
    const agent = server.client(t, { access: server.access(token) });
    assert.equal((await agent.get(NODES, { name: 'n1' })).metadata.name, 'n1');
    const missing = (verb: string, resource: string, group = '') =>
      `allow system:serviceaccount:default:agent the verb ${verb} on ${resource} of API group "${group}" (a ClusterRole or Role)`;
    await assert.rejects(agent.patch(NODES, { name: 'n1' }, 'merge', {}, { subresource: 'status' }), {
      code: 'STORE_FORBIDDEN',
      operation: 'patch',
      object: 'nodes/status n1',
      fix: missing('patch', 'nodes/status'),
    });
    await assert.rejects(agent.get(NAMESPACES, { name: 'default' }), { fix: missing('get', 'namespaces') });
    await assert.rejects(agent.get(LEASES, at('a')), {
      fix: missing('get', 'leases', 'coordination.k8s.io'),
    });
    // Applying what does not exist needs another verb than the request's own.
    await assert.rejects(agent.apply(CONFIG_MAPS, { metadata: at('new') }, { fieldManager: 'a' }), {
      fix: missing('create', 'configmaps'),
    });
  });

  test('a signal ends what is under way, and a wait between attempts', async (t) => {
    const abort = new AbortController();
    setTimeout(() => abort.abort(new Error('enough')), 100);
    const closed = server.client(t, { access: server.access('t', 'https://127.0.0.1:1'), attempts: 50 });
    await assert.rejects(closed.get(NODES, { name: 'n1' }, { signal: abort.signal }), /enough/);
    await assert.rejects(
      admin.get(NODES, { name: 'n1' }, { signal: AbortSignal.abort(new Error('no')) }),
      /no/,
    );
  });

  test('priority and fairness turn a client away: it returns when it may', async (t) => {
    const token = await serviceAccount(admin, 'crowd', [
      { apiGroups: [''], resources: ['configmaps'], verbs: ['create', 'get'] },
    ]);
    const flow = (plural: string, kind: string): ResourceType => ({
      group: 'flowcontrol.apiserver.k8s.io',
      version: 'v1',
      plural,
      kind,
      namespaced: false,
    });
    const [levels, schemas] = [
      flow('prioritylevelconfigurations', 'PriorityLevelConfiguration'),
      flow('flowschemas', 'FlowSchema'),
    ];
    await admin.create(levels, {
      metadata: { name: 'nobody' },
      spec: {
        type: 'Limited',
        limited: {
          nominalConcurrencyShares: 0,
          lendablePercent: 0,
          borrowingLimitPercent: 0,
          limitResponse: { type: 'Reject' },
        },
      },
    });
    await admin.create(schemas, {
      metadata: { name: 'crowd' },
      spec: {
        matchingPrecedence: 10,
        priorityLevelConfiguration: { name: 'nobody' },
        rules: [
          {
            subjects: [{ kind: 'ServiceAccount', serviceAccount: { namespace: 'default', name: 'crowd' } }],
            resourceRules: [
              { verbs: ['*'], apiGroups: ['*'], resources: ['*'], namespaces: ['*'], clusterScope: true },
            ],
          },
        ],
      },
    });
    // The level grants nobody a seat, but lets one request pass while none is under way.
    const impatient = server.client(t, { access: server.access(token), attempts: 1 });
    const burst = (): Promise<unknown>[] =>
      Array.from({ length: 20 }, () =>
        impatient.get(CONFIG_MAPS, at('counter')).catch((error: unknown) => error),
      );
    const refusal = await eventually(async () => {
      const answers = await Promise.all(burst());
      return answers.find((answer) => answer instanceof ApiError);
    });
    assert.match(String(refusal), /too many requests/i);
    assert.equal(refusal.retryAfter, 1000);
    // Even writes are sent again, as the server has not begun to act on them.
    const patient = server.client(t, { access: server.access(token), attempts: 100 });
    const begin = performance.now();
    const creations = Array.from({ length: 20 }, (_, i) =>
      patient.create(CONFIG_MAPS, { metadata: at(`late-${i}`) }),
    );
    assert.equal((await Promise.all(creations)).length, 20);
    assert.ok(performance.now() - begin > 1_000);
  });
});
