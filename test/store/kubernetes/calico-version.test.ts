import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FlatnetError } from '../../../src/error.ts';
import type { KubernetesClient } from '../../../src/kubernetes/api/client.ts';
import type { Json } from '../../../src/kubernetes/api/object.ts';
import { calicoVersion } from '../../../src/store/kubernetes/calico-version.ts';
import { CALICO_V1, CALICO_V3 } from '../../../src/store/kubernetes/policy-kinds.ts';

const OLD = { '/apis/crd.projectcalico.org/v1': { resources: [{ name: 'tiers' }] } };
const POOLS = { '/apis/crd.projectcalico.org/v1': { resources: [{ name: 'ippools' }] } };
const NEW = { '/apis/projectcalico.org/v3': { resources: [{ name: 'globalnetworkpolicies' }] } };
const DOWN = { '/apis/projectcalico.org/v3': new FlatnetError('down', { code: 'STORE_UNAVAILABLE' }) };

function migration(version: string, ...phases: readonly string[]): Readonly<Record<string, Json>> {
  const group = '/apis/migration.projectcalico.org';
  const items = phases.map((phase, index) => ({ metadata: { name: `m${index}` }, status: { phase } }));
  return {
    [group]: { versions: [{ version }] },
    [`${group}/${version}/datastoremigrations`]: { metadata: { resourceVersion: '1' }, items },
  };
}

function server(answers: Readonly<Record<string, Json | Error>>): Pick<KubernetesClient, 'call'> {
  return {
    call: async ({ path }) => {
      const answer = answers[`${path}`.replace(/\?.*/, '')];
      if (answer instanceof Error) throw answer;
      if (!answer) throw new FlatnetError('404 page not found', { code: 'KIND_UNKNOWN' });
      return answer;
    },
  };
}

const { signal } = new AbortController();
const V1 = { version: CALICO_V1, isMigrated: false };
const V3 = { version: CALICO_V3, isMigrated: false };
const MIGRATED = { version: CALICO_V3, isMigrated: true };

for (const [what, answers, expected] of [
  ['a cluster without Calico', {}, V1],
  ['the older definitions alone', OLD, V1],
  ['the newer definitions alone', NEW, V3],
  ['the newer ones beside pools of the older', { ...POOLS, ...NEW }, V3],
  ['both: Calico’s API server shows what the older hold', { ...OLD, ...NEW }, V1],
  ['the API server away, and not needed', { ...OLD, ...DOWN }, V1],
  ['a migration under way', { ...OLD, ...NEW, ...migration('v1', 'Migrating') }, V1],
  ['a migration that failed', { ...OLD, ...NEW, ...migration('v1', 'Failed') }, V1],
  ['a migration that was never begun', { ...OLD, ...NEW, ...migration('v1') }, V1],
  ['all objects moved', { ...OLD, ...NEW, ...migration('v1beta1', 'Converged') }, MIGRATED],
  ['all moved, and used', { ...OLD, ...NEW, ...migration('v1', 'Complete') }, MIGRATED],
] as const) {
  test(`where Calico’s objects are: ${what}`, async () => {
    assert.deepEqual(await calicoVersion(server(answers), signal), expected);
  });
}

test('where Calico’s objects are is not guessed if the server does not say', async () => {
  const moving = migration('v1', 'Converged');
  const denied = new FlatnetError('forbidden', { code: 'STORE_FORBIDDEN' });
  for (const answers of [
    DOWN,
    { ...OLD, '/apis/migration.projectcalico.org': {} },
    { ...OLD, ...moving, '/apis/migration.projectcalico.org/v1/datastoremigrations': denied },
  ])
    await assert.rejects(calicoVersion(server(answers), signal), { name: 'FlatnetError' });
});
