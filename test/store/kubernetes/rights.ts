import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readYaml } from '../../../src/cluster/yaml.ts';
import type { KubernetesClient } from '../../../src/kubernetes/api/client.ts';
import { asJson, asObject, type Json } from '../../../src/kubernetes/api/object.ts';
import type { ResourceType } from '../../../src/kubernetes/api/resource.ts';
import {
  CLUSTER_ROLE_BINDINGS,
  CLUSTER_ROLES,
  NAMESPACES,
  SERVICE_ACCOUNTS,
} from '../../kubernetes/api-server.ts';
import { tokenOf } from '../../kubernetes/service-account.ts';

/** As in the manifest. */
export const NAMESPACE = 'kube-flannel';
const ACCOUNT = 'flatnet';

const namespaced = (type: ResourceType, plural: string, kind: string): ResourceType => ({
  ...type,
  plural,
  kind,
  namespaced: true,
});

const TYPES: readonly ResourceType[] = [
  SERVICE_ACCOUNTS,
  CLUSTER_ROLES,
  CLUSTER_ROLE_BINDINGS,
  namespaced(CLUSTER_ROLES, 'roles', 'Role'),
  namespaced(CLUSTER_ROLES, 'rolebindings', 'RoleBinding'),
];

/** Applies the rights that are shipped for agents, changed by `edit`, and returns a token with just these. */
export async function agentToken(
  admin: KubernetesClient,
  edit: (manifest: Json) => Json = (manifest) => manifest,
): Promise<string> {
  const options = { fieldManager: 'test', force: true };
  await admin.apply(NAMESPACES, { metadata: { name: NAMESPACE } }, options);
  await applyRights(admin, 'agent.yaml', edit);
  return tokenOf(admin, ACCOUNT, undefined, NAMESPACE);
}

type Rule = { readonly resources: readonly string[]; readonly verbs: readonly string[] };

/** To be passed to `agentToken`: the rights without a verb. */
export const without =
  (kind: string, resource: string, verb: string) =>
  (manifest: Json): Json => {
    if (manifest.kind !== kind) return manifest;
    const rules = (manifest.rules as readonly Rule[])
      .map((rule) => {
        if (!rule.resources.includes(resource)) return rule;
        return { ...rule, verbs: rule.verbs.filter((each) => each !== verb) };
      })
      .filter(({ verbs }) => verbs.length > 0);
    return { ...manifest, rules };
  };

/** Lets agents read Calico's objects. */
export function allowCalico(admin: KubernetesClient): Promise<void> {
  return applyRights(admin, 'calico.yaml', (manifest) => manifest);
}

/** Lets agents read policies, with the rights changed by `edit`. */
export function allowPolicies(
  admin: KubernetesClient,
  edit: (manifest: Json) => Json = (manifest) => manifest,
): Promise<void> {
  return applyRights(admin, 'policy.yaml', edit);
}

async function applyRights(
  admin: KubernetesClient,
  name: string,
  edit: (manifest: Json) => Json,
): Promise<void> {
  const file = join(import.meta.dirname, '../../../deploy/rbac', name);
  for (const { value } of readYaml(readFileSync(file, 'utf8'), file, 'CONFIG_INVALID')) {
    const manifest = edit(asJson(value));
    const type = TYPES.find(({ kind }) => kind === manifest.kind);
    if (!type) throw new Error(`no type for ${manifest.kind}`);
    await admin.apply(type, asObject(manifest), { fieldManager: 'test', force: true });
  }
}
