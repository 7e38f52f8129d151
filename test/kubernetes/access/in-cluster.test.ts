import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { inClusterAccess } from '../../../src/kubernetes/access/in-cluster.ts';

test('a pod’s service account: the token is read again once the server has refused it', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'flatnet-account-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const write = (name: string, text: string): void => writeFileSync(join(folder, name), text);
  write('token', 'one\n');
  write('ca.crt', 'CA');
  write('namespace', 'kube-system');
  const env = { KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '6443' };
  const access = await inClusterAccess({ env, folder });
  assert.equal(access.server, 'https://[fd00::1]:6443');
  assert.equal(access.namespace, 'kube-system');
  assert.deepEqual(await access.tls(), { ca: 'CA' });
  assert.deepEqual(await access.headers(), { authorization: 'Bearer one' });
  write('token', 'two');
  assert.deepEqual(await access.headers(), { authorization: 'Bearer one' });
  access.forget();
  assert.deepEqual(await access.headers(), { authorization: 'Bearer two' });
  // While the kubelet cannot renew it, the last token may still be good.
  rmSync(join(folder, 'token'));
  access.forget();
  assert.deepEqual(await access.headers(), { authorization: 'Bearer two' });
});

test('outside a pod', async () => {
  await assert.rejects(inClusterAccess({ env: {} }), {
    code: 'CONFIG_INVALID',
    message: 'KUBERNETES_SERVICE_HOST: is not set; run in a pod, or name a kubeconfig',
  });
  await assert.rejects(
    inClusterAccess({ env: { KUBERNETES_SERVICE_HOST: '10.96.0.1' }, folder: '/nonexistent' }),
    { code: 'IO' },
  );
});
