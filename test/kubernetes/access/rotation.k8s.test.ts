import assert from 'node:assert/strict';
import { chmodSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { FlatnetError } from '../../../src/error.ts';
import { inClusterAccess } from '../../../src/kubernetes/access/in-cluster.ts';
import { openAccess } from '../../../src/kubernetes/access/open.ts';
import { KubernetesClient } from '../../../src/kubernetes/api/client.ts';
import { asJson } from '../../../src/kubernetes/api/object.ts';
import { jsonBody } from '../../../src/kubernetes/api/request.ts';
import { collectionPath, type ResourceType } from '../../../src/kubernetes/api/resource.ts';
import { eventually } from '../../store/servers.ts';
import { ApiServer, forSuite, NO_API_SERVER, SECRETS } from '../api-server.ts';
import { serviceAccount, tokenOf } from '../service-account.ts';

const REVIEWS: ResourceType = {
  group: 'authentication.k8s.io',
  version: 'v1',
  plural: 'selfsubjectreviews',
  kind: 'SelfSubjectReview',
  namespaced: false,
};

/** Who the API server takes a client for: the user's name, and the token's ID. */
async function whoAmI(client: KubernetesClient): Promise<{ user: unknown; token: unknown; groups: unknown }> {
  const body = jsonBody({ apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' });
  const request = { verb: 'create', resource: REVIEWS, at: {}, path: collectionPath(REVIEWS), body } as const;
  const { username, extra, groups } = asJson(asJson((await client.call(request)).status).userInfo);
  return { user: username, token: asJson(extra)['authentication.kubernetes.io/credential-id'], groups };
}

describe('credentials that rotate', { skip: NO_API_SERVER }, () => {
  const suite = forSuite();
  let server: ApiServer;
  let admin: KubernetesClient;
  before(async () => {
    server = await ApiServer.start(suite);
    admin = server.client(suite);
  });

  test('a pod’s token: replaced in the file, then the old one ends, and no request fails', async (t) => {
    const first = await serviceAccount(admin, 'pod', [
      { apiGroups: [''], resources: ['nodes'], verbs: ['list'] },
    ]);
    const folder = join(server.folder, 'pod');
    mkdirSync(folder);
    copyFileSync(server.ca, join(folder, 'ca.crt'));
    writeFileSync(join(folder, 'namespace'), 'default');
    const secret = await admin.create(SECRETS, { metadata: { namespace: 'default', name: 'bound' } });
    const bound = await tokenOf(admin, 'pod', { name: 'bound', uid: secret.metadata.uid ?? '' });
    writeFileSync(join(folder, 'token'), bound);
    const env = { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: String(server.port) };
    const client = new KubernetesClient({ access: await inClusterAccess({ env, folder }) });
    t.after(() => client.close());
    const before = await whoAmI(client);
    assert.equal(before.user, 'system:serviceaccount:default:pod');

    // Sooner than the file is read again by itself: the refusal makes it be read.
    writeFileSync(join(folder, 'token'), first);
    await admin.delete(SECRETS, { namespace: 'default', name: 'bound' });
    const impatient = server.client(t, { access: server.access(bound), attempts: 1 });
    // The server remembers a good token for ten seconds.
    await eventually(() =>
      whoAmI(impatient).then(
        () => false,
        (error: unknown) => /Unauthorized/.test(String(error)),
      ),
    );
    const after = await whoAmI(client);
    assert.equal(after.user, before.user);
    assert.notEqual(after.token, before.token);

    // Without a refusal, the file is read again after ten seconds.
    const next = await tokenOf(admin, 'pod');
    writeFileSync(join(folder, 'token'), next);
    await eventually(async () => (await whoAmI(client)).token !== after.token);

    writeFileSync(join(folder, 'token'), 'expired');
    const refusal = await eventually(() =>
      whoAmI(client).then(
        () => undefined,
        (error: unknown) => error,
      ),
    );
    assert.ok(refusal instanceof FlatnetError);
    assert.equal(refusal.code, 'STORE_UNAVAILABLE');
    assert.equal(refusal.fix, 'check the token or client certificate');
  });

  test('a kubeconfig’s client certificate: replaced in its files', async (t) => {
    const kubeconfig = join(server.folder, 'certificate.kubeconfig');
    const issue = (user: string): void => {
      const { cert, key } = server.authority.client(user, 'system:masters');
      copyFileSync(cert, join(server.folder, 'user.crt'));
      copyFileSync(key, join(server.folder, 'user.key'));
    };
    issue('first');
    writeFileSync(
      kubeconfig,
      `clusters: [{ name: c, cluster: { server: "${server.url}", certificate-authority: trusted.crt } }]
users: [{ name: u, user: { client-certificate: user.crt, client-key: user.key } }]
contexts: [{ name: x, context: { cluster: c, user: u } }]
current-context: x`,
    );
    const client = new KubernetesClient({ access: await openAccess({ env: { KUBECONFIG: kubeconfig } }) });
    t.after(() => client.close());
    assert.equal((await whoAmI(client)).user, 'first');
    issue('second');
    await eventually(async () => (await whoAmI(client)).user === 'second');
  });

  test('an exec plugin, impersonation, and a server that is not trusted', async (t) => {
    const plugin = join(server.folder, 'plugin');
    const api = 'client.authentication.k8s.io/v1';
    writeFileSync(
      plugin,
      `#!/bin/sh
printf '{"apiVersion":"${api}","kind":"ExecCredential","status":{"token":"%s"}}' "$(cat ${plugin}.token)"`,
    );
    chmodSync(plugin, 0o755);
    writeFileSync(`${plugin}.token`, 'stale');
    const ca = readFileSync(server.ca).toString('base64');
    const write = (name: string, cluster: string): string => {
      const path = join(server.folder, name);
      writeFileSync(
        path,
        `clusters: [{ name: c, cluster: { server: "${server.url}", ${cluster} } }]
users: [{ name: u, user: { as: alice, as-groups: [a, b], exec: { apiVersion: ${api}, command: ./plugin } } }]
contexts: [{ name: x, context: { cluster: c, user: u } }]
current-context: x`,
      );
      return path;
    };
    const open = async (kubeconfig: string): Promise<KubernetesClient> => {
      const client = new KubernetesClient({ access: await openAccess({ kubeconfig }) });
      t.after(() => client.close());
      return client;
    };
    const client = await open(write('exec.kubeconfig', `certificate-authority-data: ${ca}`));
    await assert.rejects(whoAmI(client), { code: 'STORE_UNAVAILABLE' });
    // The refusal makes the plugin run again.
    writeFileSync(`${plugin}.token`, 'token-of-admin');
    const { user, groups } = await whoAmI(client);
    assert.deepEqual([user, groups], ['alice', ['a', 'b', 'system:authenticated']]);
    const untrusting = await open(write('other.kubeconfig', 'tls-server-name: kubernetes.default.svc'));
    await assert.rejects(whoAmI(untrusting), {
      code: 'STORE_UNAVAILABLE',
      message: /unable to verify|self-signed/,
    });
    const misnamed = await open(
      write('name.kubeconfig', `certificate-authority-data: ${ca}, tls-server-name: other.example`),
    );
    await assert.rejects(whoAmI(misnamed), { code: 'STORE_UNAVAILABLE', message: /other\.example/ });
    const named = await open(
      write('named.kubeconfig', `certificate-authority-data: ${ca}, tls-server-name: kubernetes.default.svc`),
    );
    assert.equal((await whoAmI(named)).user, 'alice');
    const careless = await open(write('insecure.kubeconfig', 'insecure-skip-tls-verify: true'));
    assert.equal((await whoAmI(careless)).user, 'alice');
  });
});
