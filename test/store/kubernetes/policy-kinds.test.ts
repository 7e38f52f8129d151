import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { readYaml } from '../../../src/cluster/yaml.ts';
import { apiVersionOf, type ResourceType } from '../../../src/kubernetes/api/resource.ts';
import { KINDS, kindNamed } from '../../../src/policy/kinds.ts';
import {
  CALICO_V1,
  CALICO_V3,
  CLUSTER_NETWORK_POLICIES,
  calicoPolicyKinds,
  calicoSetKinds,
  NETWORK_POLICIES,
} from '../../../src/store/kubernetes/policy-kinds.ts';

const FOLLOWED: readonly ResourceType[] = [
  NETWORK_POLICIES,
  ...CLUSTER_NETWORK_POLICIES,
  ...[CALICO_V1, CALICO_V3].flatMap((version) => [...calicoPolicyKinds(version), ...calicoSetKinds(version)]),
];

test('what is read as a policy is followed, in every version', () => {
  for (const [kind, { versions, isNamespaced }] of KINDS)
    for (const version of versions) {
      const resource = FOLLOWED.find(
        (each) => apiVersionOf(each) === version && kindNamed(each.kind, version) === kind,
      );
      assert.equal(resource?.namespaced, isNamespaced, `${kind} of ${version}`);
    }
});

test('agents may read what they follow', () => {
  const file = join(import.meta.dirname, '../../../deploy/rbac/policy.yaml');
  type Rule = { readonly apiGroups: string[]; readonly resources: string[]; readonly verbs: string[] };
  const rules = readYaml(readFileSync(file, 'utf8'), file, 'CONFIG_INVALID').flatMap(
    ({ value }) => (value as { readonly rules?: readonly Rule[] }).rules ?? [],
  );
  for (const { group, plural } of FOLLOWED) {
    const rule = rules.find((each) => each.apiGroups.includes(group) && each.resources.includes(plural));
    for (const verb of ['list', 'watch']) assert.ok(rule?.verbs.includes(verb), `${verb} ${plural}.${group}`);
  }
});
