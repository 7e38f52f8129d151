import assert from 'node:assert/strict';
import { before, describe, type TestContext, test } from 'node:test';
import { pause } from '../../../src/async/pause.ts';
import { KubernetesClient } from '../../../src/kubernetes/api/client.ts';
import { servedKinds } from '../../../src/kubernetes/api/discovery.ts';
import type { Json } from '../../../src/kubernetes/api/object.ts';
import type { ResourceType } from '../../../src/kubernetes/api/resource.ts';
import { SILENT } from '../../../src/log.ts';
import { policyText } from '../../../src/policy/model/policy.ts';
import type { PolicyView } from '../../../src/policy/model/view.ts';
import { problemText } from '../../../src/problem.ts';
import { KubernetesPolicies } from '../../../src/store/kubernetes/policies.ts';
import {
  CALICO_V1,
  CALICO_V3,
  calicoPolicyKinds,
  calicoSetKinds,
  type Version,
} from '../../../src/store/kubernetes/policy-kinds.ts';
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

const kindsOf = (version: Version): readonly ResourceType[] => [
  ...calicoPolicyKinds(version),
  ...calicoSetKinds(version),
];
const [NETWORK_POLICIES, GLOBAL] = calicoPolicyKinds(CALICO_V1);
const [, NEWER_GLOBAL] = calicoPolicyKinds(CALICO_V3);
const TIERS = calicoPolicyKinds(CALICO_V1).find(({ plural }) => plural === 'tiers');
const [SETS] = calicoSetKinds(CALICO_V1);
const MIGRATIONS: ResourceType = {
  group: 'migration.projectcalico.org',
  version: 'v1',
  plural: 'datastoremigrations',
  kind: 'DatastoreMigration',
  namespaced: false,
};
const LOOKS = [200, 2000] as const;

/** As an earlier release had it, which knew no newer definitions. */
function withoutNewer(manifest: Json): Json {
  if (manifest.kind !== 'ClusterRole') return manifest;
  const rules = (manifest.rules as readonly { readonly apiGroups: readonly string[] }[])
    .map((rule) => ({ ...rule, apiGroups: rule.apiGroups.filter((group) => group !== 'projectcalico.org') }))
    .filter(({ apiGroups }) => apiGroups.length > 0);
  return { ...manifest, rules };
}

const nameOf = ({ plural, group }: ResourceType): string => `${plural}.${group}`;

/** As Calico's manifests do, but for their schemas. */
async function define(admin: KubernetesClient, resources: readonly ResourceType[]): Promise<void> {
  for (const resource of resources) {
    const { group, version, plural, kind, namespaced } = resource;
    const names = { kind, listKind: `${kind}List`, plural, singular: kind.toLowerCase() };
    const openAPIV3Schema = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
    const versions = [{ name: version, served: true, storage: true, schema: { openAPIV3Schema } }];
    const spec = { group, scope: namespaced ? 'Namespaced' : 'Cluster', names, versions };
    await admin.apply(
      CRDS,
      { metadata: { name: nameOf(resource) }, spec },
      { fieldManager: 'test', force: true },
    );
  }
  const [first] = resources;
  assert.ok(first);
  await eventually(async () => (await servedKinds(admin, first)).size >= resources.length);
}

async function undefine(admin: KubernetesClient, resources: readonly ResourceType[]): Promise<void> {
  for (const resource of resources) await admin.delete(CRDS, { name: nameOf(resource) });
}

const policiesOf = (view: PolicyView | undefined): readonly string[] =>
  view?.tiers.flatMap((tier) => tier.policies.map((each) => `${tier.name}: ${policyText(each)}`)) ?? [];

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
  ): {
    feed: KubernetesPolicies;
    views: readonly PolicyView[];
    view: () => PolicyView | undefined;
  } {
    const client = new KubernetesClient({ access: server.access(token) });
    const feed = new KubernetesPolicies(client, SILENT, LOOKS);
    const ended = new AbortController();
    t.after(() => {
      ended.abort();
      client.close();
    });
    const views: PolicyView[] = [];
    void (async () => {
      for await (const view of feed.watch(ended.signal)) views.push(view);
    })();
    return { feed, views, view: () => views.at(-1) };
  }

  test('Calico’s kinds are followed once they are there, with what their selectors ask for', async (t) => {
    await allowPolicies(admin);
    const { view } = watch(t, await agentToken(admin));
    await eventually(() => view());
    assert.deepEqual(view()?.tiers, []);

    await define(admin, kindsOf(CALICO_V1));
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
    const policies = (): readonly string[] => policiesOf(view());
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

    // Who knows that an account is gone goes on without it, and who does not waits until it has asked.
    await admin.delete(SERVICE_ACCOUNTS, { ...at, name: 'clerk' });
    await eventually(() => view()?.pods.get('shop/web')?.serviceAccountLabels.role === undefined);
    assert.equal(view()?.pods.get('shop/web')?.lacksAccount, undefined);
    const { view: later } = watch(t, await agentToken(admin));
    const web = () => later()?.pods.get('shop/web');
    await eventually(() => web()?.lacksAccount);
    await eventually(() => web() && !web()?.lacksAccount);

    await undefine(admin, kindsOf(CALICO_V1));
    await eventually(() => policies().length === 0, 60_000);
  });

  test('Calico’s objects are read where Calico has them, through a migration, and never from both', async (t) => {
    const [older, newer] = [kindsOf(CALICO_V1), kindsOf(CALICO_V3)];
    assert.ok(GLOBAL && NEWER_GLOBAL);
    await allowPolicies(admin);
    await define(admin, newer);
    await admin.create(NEWER_GLOBAL, { metadata: { name: 'new' }, spec: {} });
    const { feed, views, view } = watch(t, await agentToken(admin));
    const read = (name: string): boolean =>
      policiesOf(view()).join() === `default: GlobalNetworkPolicy ${name}`;
    await eventually(() => read('new'));
    assert.deepEqual(feed.origins, ['networking.k8s.io/v1', 'projectcalico.org/v3']);

    // As Calico decides it: the newer ones could as well be what its API server shows.
    await define(admin, older);
    await admin.create(GLOBAL, { metadata: { name: 'old' }, spec: {} });
    await eventually(() => read('old'), 30_000);
    assert.deepEqual(feed.origins, ['networking.k8s.io/v1', 'crd.projectcalico.org/v1']);
    const neglected = await eventually(() => feed.problems.find(({ id }) => id === 'policies-unfollowed'));
    assert.match(
      problemText(neglected),
      /^policies of these kinds are not enforced: projectcalico\.org\/v3: .* crd\.projectcalico\.org\/v1, .*$/,
    );

    await define(admin, [MIGRATIONS]);
    const at = { metadata: { name: 'v1-to-v3' } };
    await admin.create(MIGRATIONS, { ...at, status: { phase: 'Migrating' } });
    const options = { fieldManager: 'test', force: true };
    await admin.apply(MIGRATIONS, { ...at, status: { phase: 'Converged' } }, options);
    await eventually(() => read('new'), 30_000);
    assert.deepEqual(feed.origins, ['networking.k8s.io/v1', 'projectcalico.org/v3']);
    await eventually(() => feed.problems.length === 0);

    // The older definitions go with all objects, and then the record of the migration.
    await undefine(admin, older);
    await undefine(admin, [MIGRATIONS]);
    const [first] = older;
    assert.ok(first);
    await eventually(async () => (await servedKinds(admin, first)).size === 0, 30_000);
    await admin.create(NEWER_GLOBAL, { metadata: { name: 'newest' }, spec: {} });
    await eventually(() => policiesOf(view()).length === 2);
    await admin.delete(NEWER_GLOBAL, { name: 'newest' });
    await eventually(() => read('new'));
    const seen = new Set(
      views.map((each) =>
        policiesOf(each)
          .map((text) => text.split(' ').at(-1))
          .join(),
      ),
    );
    assert.deepEqual([...seen].toSorted(), ['new', 'new,newest', 'old'], 'no view lacked them, or had both');
    await undefine(admin, newer);
  });

  test('a migration to what the agent must not read opens nothing when the older objects go', async (t) => {
    const [older, newer] = [kindsOf(CALICO_V1), kindsOf(CALICO_V3)];
    assert.ok(GLOBAL && NETWORK_POLICIES);
    for (const each of [older, newer, [MIGRATIONS]]) await define(admin, each);
    await allowPolicies(admin, withoutNewer);
    await admin.create(GLOBAL, { metadata: { name: 'first' }, spec: {} });
    await admin.create(GLOBAL, { metadata: { name: 'second' }, spec: {} });
    const { feed, view } = watch(t, await agentToken(admin));
    await eventually(() => policiesOf(view()).length === 2);
    const options = { fieldManager: 'test', force: true };
    const migrated = { metadata: { name: 'v1-to-v3' }, status: { phase: 'Converged' } };
    await admin.apply(MIGRATIONS, migrated, options);
    await eventually(() => feed.problems.some(({ cause }) => /cannot list/.test(cause ?? '')), 30_000);
    await admin.delete(GLOBAL, { name: 'first' });
    await undefine(admin, older);
    // Long enough for a watch, and for several looks, to tell.
    for (let i = 0; i < 20; i++) {
      assert.equal(policiesOf(view()).length, 2);
      await pause(200);
    }
    for (const each of [newer, [MIGRATIONS]]) await undefine(admin, each);
  });

  test('what the server has and the agent must not read is no absence', async (t) => {
    await define(admin, kindsOf(CALICO_V1));
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
