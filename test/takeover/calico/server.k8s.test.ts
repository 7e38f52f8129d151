import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KubernetesClient } from '../../../src/kubernetes/api/client.ts';
import type { ResourceType } from '../../../src/kubernetes/api/resource.ts';
import { calicoPlan } from '../../../src/takeover/calico/plan.ts';
import { readCalicoObjects } from '../../../src/takeover/node/calico-objects.ts';
import { ApiServer, CRDS, NO_API_SERVER, NODES } from '../../kubernetes/api-server.ts';
import { eventually } from '../../store/servers.ts';

const GROUP = 'crd.projectcalico.org';
const calico = (kind: string, plural: string): ResourceType => ({
  group: GROUP,
  version: 'v1',
  plural,
  kind,
  namespaced: false,
});
const POOLS = calico('IPPool', 'ippools');
const BLOCKS = calico('IPAMBlock', 'ipamblocks');
const ADMIN: ResourceType = {
  ...calico('AdminNetworkPolicy', 'adminnetworkpolicies'),
  group: 'policy.networking.k8s.io',
  version: 'v1alpha1',
};
const POLICIES = calico('GlobalNetworkPolicy', 'globalnetworkpolicies');

test('Calico’s objects are read from the API server', {
  skip: NO_API_SERVER,
  timeout: 180_000,
}, async (t) => {
  const server = await ApiServer.start(t);
  const admin = server.client(t);
  const kubeconfig = server.kubeconfig();
  await admin.create(NODES, {
    metadata: { name: 'node1', annotations: { 'projectcalico.org/IPv4Address': '10.0.0.1/24' } },
  });
  const without = calicoPlan(await readCalicoObjects(kubeconfig));
  assert.deepEqual(
    without.steps.map(({ object }) => object),
    ['node node1'],
    'a cluster without Calico',
  );
  assert.deepEqual(
    without.obstacles.map(({ what }) => what),
    ['no IPPool found'],
  );

  for (const type of [POOLS, BLOCKS, POLICIES, ADMIN]) await define(admin, type);
  await admin.create(POOLS, {
    metadata: { name: 'pool' },
    spec: { cidr: '192.168.0.0/16', natOutgoing: true, vxlanMode: 'Never' },
  });
  await admin.create(BLOCKS, {
    metadata: { name: 'b' },
    spec: {
      cidr: '192.168.7.0/26',
      affinity: 'host:node1',
      allocations: [0, null],
      attributes: [{ handle_id: 'h', secondary: { node: 'node1', pod: 'web' } }],
    },
  });
  await admin.create(POLICIES, { metadata: { name: 'deny' }, spec: { selector: 'all()' } });
  await admin.create(ADMIN, { metadata: { name: 'first' }, spec: {} });
  const { steps, obstacles } = calicoPlan(await readCalicoObjects(kubeconfig));
  assert.deepEqual(
    steps.map(({ action, object }) => `${action} ${object}`),
    [
      'write network',
      'write IPPool/pool',
      'adopt block 192.168.7.0/26',
      'keep node node1',
      'keep GlobalNetworkPolicy/deny',
      'leave AdminNetworkPolicy/first',
    ],
  );
  assert.deepEqual(
    obstacles.map(({ what }) => what),
    ['AdminNetworkPolicy/first would no longer be enforced'],
  );
});

/** Groups below k8s.io need one: for tests, it says that there is none. */
const APPROVED = { 'api-approved.kubernetes.io': 'unapproved, for tests' };

/** Defines a kind without a schema, as far as Kubernetes allows that, and waits until it is served. */
async function define(admin: KubernetesClient, type: ResourceType): Promise<void> {
  const { kind, plural, group, version } = type;
  const schema = { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } };
  await admin.create(CRDS, {
    metadata: { name: `${plural}.${group}`, annotations: APPROVED },
    spec: {
      group,
      scope: 'Cluster',
      names: { kind, plural, singular: kind.toLowerCase(), listKind: `${kind}List` },
      versions: [{ name: version, served: true, storage: true, schema }],
    },
  });
  const isServed = async (): Promise<boolean> => {
    try {
      await admin.create(type, { metadata: { name: 'probe' } });
      await admin.delete(type, { name: 'probe' });
      return true;
    } catch {
      return false;
    }
  };
  await eventually(isServed);
}
