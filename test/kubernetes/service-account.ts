import type { KubernetesClient } from '../../src/kubernetes/api/client.ts';
import { asJson } from '../../src/kubernetes/api/object.ts';
import { jsonBody } from '../../src/kubernetes/api/request.ts';
import { objectPath } from '../../src/kubernetes/api/resource.ts';
import { CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, SERVICE_ACCOUNTS } from './api-server.ts';

export type Rule = {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
};

const at = (name: string, namespace = 'default') => ({ namespace, name });

/** A service account with these rights, and a token of it. */
export async function serviceAccount(
  admin: KubernetesClient,
  name: string,
  rules: readonly Rule[],
): Promise<string> {
  await admin.create(SERVICE_ACCOUNTS, { metadata: at(name) });
  await admin.create(CLUSTER_ROLES, { metadata: { name }, rules });
  await admin.create(CLUSTER_ROLE_BINDINGS, {
    metadata: { name },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name },
    subjects: [{ kind: 'ServiceAccount', ...at(name) }],
  });
  return tokenOf(admin, name);
}

/** Issues a token; with `secret`, one that ends with that Secret. */
export async function tokenOf(
  admin: KubernetesClient,
  name: string,
  secret?: { readonly name: string; readonly uid: string },
  namespace = 'default',
): Promise<string> {
  const boundObjectRef = secret && { apiVersion: 'v1', kind: 'Secret', ...secret };
  const spec = { expirationSeconds: 3600, ...(boundObjectRef && { boundObjectRef }) };
  const answer = await admin.call({
    verb: 'create',
    resource: SERVICE_ACCOUNTS,
    at: at(name, namespace),
    subresource: 'token',
    path: objectPath(SERVICE_ACCOUNTS, at(name, namespace), 'token'),
    body: jsonBody({ apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec }),
  });
  return String(asJson(answer.status).token);
}
