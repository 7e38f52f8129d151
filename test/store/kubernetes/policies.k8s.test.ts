import assert from 'node:assert/strict';
import { before, describe, type TestContext, test } from 'node:test';
import { KubernetesClient } from '../../../src/kubernetes/api/client.ts';
import { servedKinds } from '../../../src/kubernetes/api/discovery.ts';
import { SILENT } from '../../../src/log.ts';
import { policyText } from '../../../src/policy/model/policy.ts';
import type { PolicyView } from '../../../src/policy/model/view.ts';
import { KubernetesPolicies } from '../../../src/store/kubernetes/policies.ts';
import { CALICO_POLICY_KINDS, CALICO_SET_KINDS } from '../../../src/store/kubernetes/policy-kinds.ts';
import {
  ApiServer,
  CRDS,
  forSuite,
  NAMESPACES,
  NO_API_SERVER,
  PODS,
  SERVICE_ACCOUNTS,
} from '../../kubernetes/api-server.ts';
import { eventually } from '../servers.ts';
import { agentToken, allowPolicies, without } from './rights.ts';

const KINDS = [...CALICO_POLICY_KINDS, ...CALICO_SET_KINDS];
const [NETWORK_POLICIES, GLOBAL] = CALICO_POLICY_KINDS;
const TIERS = KINDS.find(({ plural }) => plural === 'tiers');
const [SETS] = CALICO_SET_KINDS;
const LOOKS = [200, 2000] as const;

const nameOf = ({ plural, group }: (typeof KINDS)[number]): string => `${plural}.${group}`;

/** As Calico's manifests do, but for their schemas. */
async function defineCalico(admin: KubernetesClient): Promise<void> {
  for (const resource of KINDS) {
    const { group, plural, kind, namespaced } = resource;
    const names = { kind, listKind: `${kind}List`, plural, singular: kind.toLowerCase() };
    const openAPIV3Schema = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
    const versions = [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema } }];
    const spec = { group, scope: namespaced ? 'Namespaced' : 'Cluster', names, versions };
    await admin.apply(
      CRDS,
      { metadata: { name: nameOf(resource) }, spec },
      { fieldManager: 'test', force: true },
    );
  }
  const [first] = KINDS;
  assert.ok(first);
  await eventually(async () => (await servedKinds(admin, first)).size >= KINDS.length);
}

describe('policies of a real API server', { skip: NO_API_SERVER }, () => {
  let server: ApiServer;
  let admin: KubernetesClient;
  const life = forSuite();
  before(async () => {
    server = await ApiServer.start(life);
    admin = server.client(life);
    await admin.apply(
      NAMESPACES,
      { metadata: { name: 'shop', labels: { team: 'a' } } },
      { fieldManager: 'test' },
    );
  });

  /** What an agent with these rights sees. */
  function watch(
    t: TestContext,
    token: string,
  ): { feed: KubernetesPolicies; view: () => PolicyView | undefined } {
    const client = new KubernetesClient({ access: server.access(token) });
    const feed = new KubernetesPolicies(client, SILENT, LOOKS);
    const ended = new AbortController();
    t.after(() => {
      ended.abort();
      client.close();
    });
    let last: PolicyView | undefined;
    void (async () => {
      for await (const view of feed.watch(ended.signal)) last = view;
    })();
    return { feed, view: () => last };
  }

  test('Calico’s kinds are followed once they are there, with what their selectors ask for', async (t) => {
    await allowPolicies(admin);
    const { view } = watch(t, await agentToken(admin));
    await eventually(() => view());
    assert.deepEqual(view()?.tiers, []);

    await defineCalico(admin);
    assert.ok(NETWORK_POLICIES && GLOBAL && TIERS && SETS);
    const at = { namespace: 'shop' };
    await admin.create(TIERS, { metadata: { name: 'own' }, spec: { order: 5 } });
    await admin.create(GLOBAL, {
      metadata: { name: 'own.all' },
      spec: { tier: 'own', ingress: [{ action: 'Allow', source: { selector: 'place == "office"' } }] },
    });
    await admin.create(NETWORK_POLICIES, { metadata: { ...at, name: 'default.clerks' }, spec: {} });
    // As newer releases of Calico write it: the labels of its users are in an annotation.
    const annotations = { 'projectcalico.org/metadata': '{"labels":{"place":"office"}}' };
    await admin.create(SETS, {
      metadata: { ...at, name: 'office', annotations },
      spec: { nets: ['192.0.2.0/24'] },
    });
    await admin.create(SERVICE_ACCOUNTS, { metadata: { ...at, name: 'clerk', labels: { role: 'b' } } });
    await admin.create(PODS, {
      metadata: { ...at, name: 'web' },
      spec: {
        serviceAccountName: 'clerk',
        automountServiceAccountToken: false,
        containers: [{ name: 'c', image: 'none' }],
      },
    });
    const policies = (): readonly string[] =>
      view()?.tiers.flatMap((tier) => tier.policies.map((each) => `${tier.name}: ${policyText(each)}`)) ?? [];
    await eventually(() => policies().length === 2);
    assert.deepEqual(policies(), [
      'own: GlobalNetworkPolicy own.all',
      'default: Calico NetworkPolicy shop/default.clerks',
    ]);
    const set = await eventually(() => view()?.others.find(({ kind }) => kind === 'network-set'));
    assert.ok(set.kind === 'network-set');
    assert.deepEqual(
      [set.labels, set.namespaceLabels.team, set.nets],
      [{ place: 'office' }, 'a', ['192.0.2.0/24']],
    );
    await eventually(() => view()?.pods.get('shop/web')?.serviceAccountLabels.role === 'b');
    assert.deepEqual(view()?.problems, []);

    for (const resource of KINDS) await admin.delete(CRDS, { name: nameOf(resource) });
    await eventually(() => policies().length === 0, 60_000);
  });

  test('what the server has and the agent must not read is no absence', async (t) => {
    await defineCalico(admin);
    for (const [resource, expected] of [
      ['tiers', /cannot list resource "\w+" in API group "crd\.projectcalico\.org".*the verb list on/],
      ['serviceaccounts', /cannot list resource "serviceaccounts".*the verb list on serviceaccounts/],
    ] as const) {
      await allowPolicies(admin, without('ClusterRole', resource, 'list'));
      const token = await agentToken(admin);
      // The server needs a moment to see changed roles.
      const refused = await eventually(async () => {
        const { feed, view } = watch(t, token);
        await eventually(() => view() ?? feed.problems[0], 5000);
        return expected.test(feed.problems[0]?.cause ?? '') && { feed, view };
      });
      assert.equal(refused.view(), undefined);
      await allowPolicies(admin);
      await eventually(() => refused.view());
      // A server whose definitions are new still refuses watches now and then.
      await eventually(() => refused.feed.problems.length === 0);
    }
  });
});
