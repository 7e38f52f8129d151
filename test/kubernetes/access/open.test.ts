import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { openAccess } from '../../../src/kubernetes/access/open.ts';

function place(t: TestContext): { home: string; folder: string; file: string } {
  const root = mkdtempSync(join(tmpdir(), 'flatnet-access-'));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  const [home, folder, file] = [root, join(root, 'account'), join(root, 'named')];
  mkdirSync(join(home, '.kube'));
  mkdirSync(folder);
  for (const name of ['token', 'ca.crt', 'namespace']) writeFileSync(join(folder, name), name);
  return { home, folder, file };
}

const kubeconfig = (server: string): string =>
  JSON.stringify({
    'current-context': 'c',
    contexts: [{ name: 'c', context: { cluster: 'c' } }],
    clusters: [{ name: 'c', cluster: { server } }],
  });

const POD = { KUBERNETES_SERVICE_HOST: '10.96.0.1', KUBERNETES_SERVICE_PORT: '443' };

test('who we are in a pod: --kubeconfig, KUBECONFIG, ~/.kube/config, and only then the service account', async (t) => {
  const { home, folder, file } = place(t);
  const server = async (options: { kubeconfig?: string; context?: string } = {}, env = {}) =>
    (await openAccess({ ...options, folder, env: { HOME: home, ...POD, ...env } })).server;
  assert.equal(await server(), 'https://10.96.0.1:443');
  assert.equal(await server({}, { KUBECONFIG: file }), 'https://10.96.0.1:443', 'a file that is not there');
  await assert.rejects(server({ kubeconfig: file }), { code: 'IO' });
  await assert.rejects(server({ context: 'c' }), { code: 'NOT_FOUND' });

  writeFileSync(join(home, '.kube', 'config'), 'apiVersion: v1\nkind: Config\n');
  assert.equal(await server(), 'https://10.96.0.1:443', 'a file that selects nothing');
  writeFileSync(join(home, '.kube', 'config'), kubeconfig('https://home:1'));
  assert.equal(await server(), 'https://home:1');
  writeFileSync(file, kubeconfig('https://named:1'));
  assert.equal(await server({}, { KUBECONFIG: file }), 'https://named:1');
  assert.equal(await server({ kubeconfig: file }), 'https://named:1');
});

test('outside a pod, a missing kubeconfig is named', async (t) => {
  const { home, folder } = place(t);
  await assert.rejects(openAccess({ folder, env: { HOME: home } }), /\.kube\/config.*ENOENT/);
  rmSync(folder, { recursive: true });
  await assert.rejects(openAccess({ folder, env: { HOME: home, ...POD } }), /\.kube\/config.*ENOENT/);
});
