import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FlatnetError } from '../../../src/error.ts';
import type { KubernetesClient } from '../../../src/kubernetes/api/client.ts';
import { isServed, servedKinds } from '../../../src/kubernetes/api/discovery.ts';
import type { Json } from '../../../src/kubernetes/api/object.ts';
import { CLUSTER_NETWORK_POLICIES } from '../../../src/store/kubernetes/policy-kinds.ts';

const [POLICIES] = CLUSTER_NETWORK_POLICIES;
assert.ok(POLICIES);

const server = (answer: Json | Error): Pick<KubernetesClient, 'call'> => ({
  call: async () => {
    if (answer instanceof Error) throw answer;
    return answer;
  },
});

test('a server that does not know a version has nothing of it', async () => {
  const client = server(new FlatnetError('no such kind', { code: 'KIND_UNKNOWN' }));
  assert.deepEqual(await servedKinds(client, POLICIES), new Set());
  assert.equal(await isServed(client, POLICIES), false);
});

test('an answer that does not list what is served says nothing of what is not', async () => {
  const head = { kind: 'APIResourceList', groupVersion: 'policy.networking.k8s.io/v1alpha2' };
  const answers: readonly Json[] = [
    {},
    head,
    { ...head, resources: null },
    { ...head, resources: [] },
    { ...head, resources: {} },
    { ...head, resources: [null, 'clusternetworkpolicies', { name: 1 }] },
  ];
  for (const answer of answers)
    await assert.rejects(servedKinds(server(answer), POLICIES), {
      code: 'STORE_UNAVAILABLE',
      message: '/apis/policy.networking.k8s.io/v1alpha2: the answer does not say what is served',
    });
  const resources = [{ name: 'clusternetworkpolicies' }, { name: 'clusternetworkpolicies/status' }];
  assert.equal(await isServed(server({ ...head, resources }), POLICIES), true);
});
