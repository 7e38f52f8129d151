import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { collectPolicies } from '../../../src/policy/collect.ts';
import type { PodEntity } from '../../../src/policy/model/entity.ts';
import type { PolicyView } from '../../../src/policy/model/view.ts';
import { PolicyLoss } from '../../../src/store/kubernetes/policy-loss.ts';

const NODE = { kind: 'node', name: 'n', labels: {}, addresses: [] } as const;
const POD: PodEntity = {
  kind: 'pod',
  namespace: 'default',
  name: 'web',
  labels: {},
  namespaceLabels: {},
  serviceAccount: 'default',
  serviceAccountLabels: {},
  ports: [],
  addresses: [],
};

type Shown = {
  readonly policies: number;
  readonly nodes: boolean;
  readonly pods: boolean;
  readonly namespaces?: boolean;
};

function viewOf({ policies, nodes, pods, namespaces = true }: Shown): PolicyView {
  const pod: PodEntity = namespaces ? POD : { ...POD, lacksNamespace: true };
  const written = Array.from({ length: policies }, (_, i) => ({
    kind: 'NetworkPolicy',
    namespace: 'default',
    name: `p${i}`,
    spec: { podSelector: {} },
  }));
  const { tiers, problems } = collectPolicies(written);
  return {
    tiers,
    problems,
    pods: new Map(pods ? [['default/web', pod]] : []),
    others: nodes ? [NODE] : [],
  };
}

const count = (view: PolicyView | undefined): number | undefined =>
  view?.tiers.reduce((sum, { policies }) => sum + policies.length, 0);

test('an API that came back empty opens nothing, until it has policies again', () => {
  const loss = new PolicyLoss();
  const show = (of: Partial<Shown>, isDoubtful = false) =>
    count(loss.believe(viewOf({ policies: 0, nodes: true, pods: true, ...of }), isDoubtful));
  assert.equal(show({ policies: 2 }), 2);
  // The kinds come back one after another.
  assert.equal(show({}, true), undefined);
  assert.equal(show({ pods: false, policies: 2 }, true), undefined);
  assert.equal(show({ namespaces: false, policies: 2 }, true), undefined);
  assert.deepEqual(loss.problems, []);
  assert.equal(show({ nodes: false, pods: false }, true), undefined);
  assert.equal(show({ nodes: false, pods: false }), undefined);
  assert.deepEqual(
    loss.problems.map(({ id }) => id),
    ['store-lost-data'],
  );
  assert.equal(show({ pods: false }), 2, 'the Nodes are back');
  assert.equal(show({}), 2);
  assert.deepEqual(
    loss.problems.map(({ id }) => id),
    ['policies-kept'],
  );
  assert.equal(show({ policies: 1 }), 1);
  assert.deepEqual(loss.problems, []);
  assert.equal(show({}), 0, 'somebody has deleted it');
});

test('policies end only by being deleted: not while their Nodes are missing or the API is away', () => {
  const shown = fc.record({
    of: fc.record({ policies: fc.nat(2), nodes: fc.boolean(), pods: fc.boolean() }),
    isDoubtful: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(shown, { maxLength: 30 }), (all) => {
      const loss = new PolicyLoss();
      let [last, wasLost, hadNodes] = [0, false, false];
      for (const { of, isDoubtful } of all) {
        const believed = count(loss.believe(viewOf(of), isDoubtful));
        if (hadNodes && !of.nodes) {
          assert.equal(believed, undefined);
          wasLost = true;
        }
        if (believed === undefined) continue;
        if (last > 0 && believed === 0) assert.ok(!isDoubtful && !wasLost && of.policies === 0);
        if (believed !== of.policies) assert.ok(wasLost && of.policies === 0 && believed === last);
        if (of.policies > 0 || last === 0) wasLost = false;
        [last, hadNodes] = [believed, of.nodes];
      }
    }),
    { numRuns: 1000 },
  );
});
