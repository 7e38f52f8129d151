import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { parseIp } from '../../../src/ip/address.ts';
import { type PolicyDocument, readPolicyDocument } from '../../../src/policy/document.ts';
import type { OwnPod } from '../../../src/policy/model/entity.ts';
import { policyText } from '../../../src/policy/model/policy.ts';
import type { PolicyView } from '../../../src/policy/model/view.ts';
import type { NodePods, PodRegistry, PolicyFeed, PolicyObjects } from '../../../src/store/ports/policies.ts';
import type { Store } from '../../../src/store/ports/store.ts';
import { eventually } from '../servers.ts';
import type { Start } from './conformance.ts';
import { facts, LEASES } from './facts.ts';

type Ports = {
  readonly policies: PolicyFeed;
  readonly pods: PodRegistry;
  readonly policyObjects: PolicyObjects;
};

/** Of a store that has them. */
export function portsOf({ policies, pods, policyObjects }: Store): Ports {
  assert.ok(policies && pods && policyObjects);
  return { policies, pods, policyObjects };
}

export function document(value: object): PolicyDocument {
  return readPolicyDocument({ value, where: '' });
}

export const isolated = document({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name: 'web', namespace: 'shop' },
  spec: { podSelector: { matchLabels: { app: 'web' } } },
});

export function pod(node: string, name: string, address: string, labels = {}): OwnPod {
  return {
    kind: 'pod',
    namespace: 'shop',
    name,
    uid: `${name} on ${node}`,
    labels,
    serviceAccount: '',
    ports: [{ name: 'http', protocol: 6, port: 80 }],
    node,
    addresses: [parseIp(address)],
  };
}

/** Collects the views until the test ends, newest last. */
export function policyViews(t: TestContext, feed: PolicyFeed): PolicyView[] {
  const seen: PolicyView[] = [];
  const abort = new AbortController();
  t.after(() => abort.abort());
  void (async () => {
    for await (const view of feed.watch(abort.signal)) seen.push(view);
  })();
  return seen;
}

export function policyViewThat(
  seen: readonly PolicyView[],
  check: (view: PolicyView) => boolean,
): Promise<PolicyView> {
  return eventually(() => {
    const view = seen.at(-1);
    return view && check(view) ? view : undefined;
  });
}

/** Keeps pods until the test ends, or `end` is called. */
export function keeping(
  t: TestContext,
  registry: PodRegistry,
  node: string,
  told: { value: NodePods | undefined },
): { readonly changed: () => void; readonly end: () => void } {
  const ended = new AbortController();
  t.after(() => ended.abort());
  return { changed: registry.keep(node, () => told.value, ended.signal), end: () => ended.abort() };
}

const policiesIn = ({ tiers }: PolicyView): string[] =>
  tiers.flatMap((tier) => tier.policies.map(policyText));

export function policiesConformance(title: string, start: Start, skip: string | false = false): void {
  describe(`${title}: policies`, { skip }, () => {
    test('the view has what was applied, the nodes and their pods, and follows them', async (t) => {
      const { open } = await start(t);
      const store = open();
      await store.network.write(LEASES);
      await store.membership.join(facts(1), {});
      const { policyObjects, pods } = portsOf(store);
      const seen = policyViews(t, portsOf(open()).policies);
      const first = await policyViewThat(seen, ({ others }) => others.length === 1);
      assert.deepEqual([first.tiers, first.pods.size, first.problems], [[], 0, []]);
      const [node] = first.others;
      assert.ok(node?.kind === 'node' && node.name === 'node1' && node.addresses[0] === '192.0.2.1');

      assert.equal(await policyObjects.apply(isolated), 'created');
      assert.equal(await policyObjects.apply(isolated), 'unchanged');
      const namespace = (team: string): PolicyDocument =>
        document({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop', labels: { team } } });
      await policyObjects.apply(namespace('a'));
      const told = { value: { pods: [pod('node1', 'web', '10.5.1.2', { app: 'web' })], areAll: true } };
      const { changed } = keeping(t, pods, 'node1', told);
      const second = await policyViewThat(seen, (view) => view.pods.size === 1 && view.tiers.length === 1);
      assert.deepEqual(policiesIn(second), ['NetworkPolicy shop/web']);
      const web = second.pods.get('shop/web');
      const { namespaceLabels, serviceAccountLabels: _, since: __, ...own } = web ?? assert.fail();
      assert.deepEqual(own, told.value.pods[0]);
      assert.deepEqual(namespaceLabels, { team: 'a', 'kubernetes.io/metadata.name': 'shop' });

      told.value = { pods: [...told.value.pods, pod('node1', 'db', '10.5.1.3')], areAll: true };
      changed();
      const third = await policyViewThat(seen, (view) => view.pods.size === 2);
      assert.equal(third.pods.get('shop/web'), web, 'an unchanged pod is the same object');
      assert.equal(third.tiers, second.tiers);
      await policyObjects.apply(namespace('b'));
      await policyViewThat(seen, (view) => view.pods.get('shop/db')?.namespaceLabels.team === 'b');
      told.value = { pods: told.value.pods.slice(1), areAll: true };
      changed();
      await policyViewThat(seen, (view) => !view.pods.has('shop/web') && view.pods.size === 1);
      assert.equal(
        await policyObjects.delete({ kind: 'NetworkPolicy', namespace: 'shop', name: 'web' }),
        true,
      );
      assert.equal(
        await policyObjects.delete({ kind: 'NetworkPolicy', namespace: 'shop', name: 'web' }),
        false,
      );
      await policyViewThat(seen, ({ tiers }) => tiers.length === 0);
      assert.deepEqual(
        (await policyObjects.list(() => assert.fail())).map(({ kind }) => kind),
        ['Namespace'],
      );
    });

    test('an agent that starts again changes nothing, and a node that is forgotten has no pods', async (t) => {
      const { open } = await start(t);
      const store = open();
      await store.network.write(LEASES);
      await store.membership.join(facts(1), {});
      const seen = policyViews(t, portsOf(store).policies);
      const told = { value: { pods: [pod('node1', 'web', '10.5.1.2')], areAll: true } };
      keeping(t, portsOf(store).pods, 'node1', told).end();
      const before = open();
      const kept = keeping(t, portsOf(before).pods, 'node1', told);
      await policyViewThat(seen, (view) => view.pods.size === 1);
      kept.end();
      before.close();
      const web = seen.at(-1)?.pods.get('shop/web');

      // It learns of its pods one by one, and does not yet know them all.
      const after = { value: { pods: told.value.pods.slice(1), areAll: false } };
      const { changed } = keeping(t, portsOf(open()).pods, 'node1', after);
      changed();
      after.value = { pods: [...told.value.pods, pod('node1', 'db', '10.5.1.3')], areAll: false };
      changed();
      await policyViewThat(seen, (view) => view.pods.size === 2);
      assert.equal(seen.at(-1)?.pods.get('shop/web'), web);
      assert.ok(seen.slice(1).every((view) => view.pods.get('shop/web') === web || view.pods.size === 0));

      keeping(t, portsOf(store).pods, 'node2', {
        value: { pods: [pod('node2', 'far', '10.5.2.2')], areAll: true },
      });
      await policyViewThat(seen, (view) => view.pods.size === 3);
      await store.membership.forget('node2');
      // Its agent runs, and says so again; another's pods are none of its business.
      await policyViewThat(seen, (view) => view.pods.size === 3);
    });

    test('pods that are not to be told are not, until they are', async (t) => {
      const { open } = await start(t);
      const store = open();
      await store.network.write(LEASES);
      await store.membership.join(facts(1), {});
      const seen = policyViews(t, portsOf(store).policies);
      const told: { value: NodePods | undefined } = { value: undefined };
      const { changed } = keeping(t, portsOf(store).pods, 'node1', told);
      await policyViewThat(seen, () => true);
      changed();
      told.value = { pods: [pod('node1', 'web', '10.5.1.2')], areAll: true };
      changed();
      await policyViewThat(seen, (view) => view.pods.size === 1);
    });
  });
}
