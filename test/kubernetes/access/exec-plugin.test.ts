import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ExecPlugin, readExecCredential } from '../../../src/kubernetes/access/exec-plugin.ts';

const V1 = 'client.authentication.k8s.io/v1';

/** A plugin that counts its runs, keeps what it was told, and prints `status` with the run’s number. */
function plugin(t: TestContext, status: string) {
  const folder = mkdtempSync(join(tmpdir(), 'flatnet-plugin-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const command = join(folder, 'plugin');
  const script = `#!/bin/sh
echo run >>${folder}/runs
N=$(grep -c . ${folder}/runs)
printf %s "$KUBERNETES_EXEC_INFO" >${folder}/info
printf '{"apiVersion":"${V1}","kind":"ExecCredential","status":${status}}' "$N" "$SUFFIX"
`;
  writeFileSync(command, script);
  chmodSync(command, 0o755);
  const config = { apiVersion: V1, command, args: [], env: { SUFFIX: 'abc' }, provideClusterInfo: true };
  const tls = async () => ({ ca: 'CA', serverName: 'api.example' });
  return {
    plugin: new ExecPlugin(config, { server: 'https://api:6443', tls }),
    runs: () =>
      existsSync(`${folder}/runs`) ? readFileSync(`${folder}/runs`, 'utf8').trim().split('\n').length : 0,
    info: () => JSON.parse(readFileSync(`${folder}/info`, 'utf8')) as unknown,
  };
}

test('a plugin runs once for all who ask, until its credential is about to expire or is forgotten', async (t) => {
  const soon = new Date(Date.now() + 3_600_000).toISOString();
  const lasting = plugin(t, `{"token":"token-%s-%s","expirationTimestamp":"${soon}"}`);
  const [one, two] = await Promise.all([lasting.plugin.credential(), lasting.plugin.credential()]);
  assert.deepEqual([one.token, two.token, lasting.runs()], ['token-1-abc', 'token-1-abc', 1]);
  await lasting.plugin.credential();
  assert.equal(lasting.runs(), 1);
  lasting.plugin.forget();
  assert.equal((await lasting.plugin.credential()).token, 'token-2-abc');

  const expiring = plugin(
    t,
    `{"token":"t%s%s","expirationTimestamp":"${new Date(Date.now() + 5_000).toISOString()}"}`,
  );
  await expiring.plugin.credential();
  await expiring.plugin.credential();
  assert.equal(expiring.runs(), 2);
});

test('a plugin is told the cluster', async (t) => {
  const { plugin: asked, info } = plugin(t, '{"token":"%s%s"}');
  await asked.credential();
  assert.deepEqual(info(), {
    apiVersion: V1,
    kind: 'ExecCredential',
    spec: {
      interactive: false,
      cluster: {
        server: 'https://api:6443',
        'certificate-authority-data': Buffer.from('CA').toString('base64'),
        'tls-server-name': 'api.example',
      },
    },
  });
});

test('a plugin that fails is asked again, and neither its output nor its arguments are shown', async () => {
  const script = 'echo secret-output; echo "please log in" >&2; exit 3';
  const config = { apiVersion: V1, command: 'sh', args: ['-c', script], env: {}, provideClusterInfo: false };
  const failing = new ExecPlugin(config, { server: 'https://api', tls: async () => ({}) });
  for (let i = 0; i < 2; i++) {
    const error = await failing.credential().catch((failure: unknown) => failure);
    assert.match(String(error), /run credential plugin sh: please log in$/);
  }
  const missing = { ...config, command: 'no-such-plugin', installHint: 'install it' };
  await assert.rejects(
    new ExecPlugin(missing, { server: 'https://api', tls: async () => ({}) }).credential(),
    {
      code: 'CONFIG_INVALID',
      message: 'run credential plugin no-such-plugin: is not installed; install it',
    },
  );
});

test('a credential must be of the version asked for, and hold something', () => {
  const output = (status: object, apiVersion = V1): string =>
    JSON.stringify({ apiVersion, kind: 'ExecCredential', status });
  const pair = { clientCertificateData: 'C', clientKeyData: 'K' };
  assert.deepEqual(readExecCredential(output(pair), V1), { cert: 'C', key: 'K' });
  assert.throws(
    () => readExecCredential(output(pair, 'client.authentication.k8s.io/v1beta1'), V1),
    /must be .*v1/,
  );
  assert.throws(
    () => readExecCredential(output({ clientKeyData: 'K' }), V1),
    /neither a token nor a certificate/,
  );
  assert.throws(
    () => readExecCredential(output({ token: 't', expirationTimestamp: 'soon' }), V1),
    /is not a time/,
  );
  const error = ((): unknown => {
    try {
      return readExecCredential('secret', V1);
    } catch (failure) {
      return failure;
    }
  })();
  assert.match(String(error), /must be JSON/);
  assert.ok(!String(error).includes('secret'));
});
