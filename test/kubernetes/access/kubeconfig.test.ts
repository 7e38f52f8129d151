import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readKubeconfig } from '../../../src/kubernetes/access/kubeconfig.ts';

const base64 = (text: string): string => Buffer.from(text).toString('base64');

/** A kubeconfig with one context `x` of cluster `c` and user `u`, in YAML's flow style. */
function config({
  cluster = '',
  user = '',
  context = 'cluster: c, user: u',
  rest = 'current-context: x',
}): string {
  return `apiVersion: v1
kind: Config
clusters: [{ name: c, cluster: { server: "https://10.0.0.1:6443"${cluster && `, ${cluster}`} } }]
users: [{ name: u, user: { ${user} } }]
contexts: [{ name: x, context: { ${context} } }]
${rest}
`;
}

function read(parts: Parameters<typeof config>[0], context?: string) {
  return readKubeconfig([{ path: '/home/admin/.kube/config', text: config(parts) }], context);
}

test('a client certificate in files relative to the kubeconfig, the CA inline', () => {
  const { cluster, user, namespace } = read({
    cluster: `certificate-authority-data: ${base64('CA')}, tls-server-name: api.example`,
    user: 'client-certificate: pki/admin.crt, client-key: ../admin.key',
  });
  assert.deepEqual(cluster, {
    server: 'https://10.0.0.1:6443',
    ca: { text: 'CA' },
    serverName: 'api.example',
  });
  assert.deepEqual(user, {
    cert: { file: '/home/admin/.kube/pki/admin.crt' },
    key: { file: '/home/admin/admin.key' },
  });
  assert.equal(namespace, 'default');
});

test('inline data goes before a file, a token file before a token', () => {
  const { cluster, user } = read({
    cluster: `certificate-authority: ca.crt, certificate-authority-data: ${base64('CA')}`,
    user: 'token: fixed, tokenFile: /run/token',
  });
  assert.deepEqual(cluster.ca, { text: 'CA' });
  assert.deepEqual(user.token, { file: '/run/token' });
});

test('a password, and impersonation', () => {
  const { user } = read({ user: 'username: a, password: b, as: c, as-groups: [d, e], as-uid: "7"' });
  assert.deepEqual(user, {
    basic: { username: 'a', password: 'b' },
    impersonate: { user: 'c', uid: '7', groups: ['d', 'e'] },
  });
});

test('an exec plugin: bare names are looked for in PATH, others start at the kubeconfig', () => {
  const exec = (command: string): string =>
    `exec: { apiVersion: client.authentication.k8s.io/v1, command: ${command}, args: [get-token],
      env: [{ name: PROFILE, value: dev }], provideClusterInfo: true, interactiveMode: Never, installHint: get it }`;
  assert.deepEqual(read({ user: exec('aws') }).user.exec, {
    apiVersion: 'client.authentication.k8s.io/v1',
    command: 'aws',
    args: ['get-token'],
    env: { PROFILE: 'dev' },
    provideClusterInfo: true,
    installHint: 'get it',
  });
  assert.equal(read({ user: exec('./login') }).user.exec?.command, '/home/admin/.kube/login');
});

test('JSON is read too, and unknown keys are ignored', () => {
  const text = JSON.stringify({
    'current-context': 'x',
    preferences: {},
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u', namespace: 'team' } }],
    clusters: [{ name: 'c', cluster: { server: 'http://127.0.0.1:8001', 'disable-compression': true } }],
    users: [{ name: 'u', user: { token: 't' } }],
  });
  const { namespace, user, cluster } = readKubeconfig([{ path: 'config', text }]);
  assert.deepEqual(
    [namespace, user, cluster.server],
    ['team', { token: { text: 't' } }, 'http://127.0.0.1:8001'],
  );
});

test('several files are merged: the first to name something wins, paths start at their own file', () => {
  const files = [
    { path: '/a/config', text: 'users: [{ name: u, user: { tokenFile: token } }]' },
    { path: '/b/config', text: config({ user: 'token: other', cluster: 'certificate-authority: ca.crt' }) },
    {
      path: '/c/config',
      text: config({ cluster: 'insecure-skip-tls-verify: true', rest: 'current-context: y' }),
    },
  ];
  const { cluster, user } = readKubeconfig(files);
  assert.deepEqual(user.token, { file: '/a/token' });
  assert.deepEqual(cluster.ca, { file: '/b/ca.crt' });
  assert.equal(cluster.insecure, undefined);
});

test('a context by name; one without a user asks anonymously', () => {
  const parts = { context: 'cluster: c', rest: '' };
  assert.deepEqual(read(parts, 'x').user, {});
  assert.throws(() => read(parts, 'z'), { code: 'NOT_FOUND', message: /has no context 'z'/ });
  assert.throws(() => read(parts), { code: 'CONFIG_INVALID', message: /current-context: is not set/ });
});

test('errors name file and field', () => {
  const cases: [Parameters<typeof config>[0], RegExp][] = [
    [
      { cluster: 'certificate-authority-data: "%%"' },
      /config\.clusters\[0\]\.cluster\.certificate-authority-data: is not base64/,
    ],
    [{ cluster: 'proxy-url: "http://proxy"' }, /cluster\.proxy-url: is not supported/],
    [
      { user: 'client-certificate: a.crt' },
      /users\[0\]\.user\.client-key: is missing: the pair goes together/,
    ],
    [{ user: 'auth-provider: { name: gcp }' }, /auth-provider: is no longer supported.*use an exec plugin/],
    [{ user: 'as-groups: [a]' }, /user\.as: is missing/],
    [{ user: 'exec: { command: a }' }, /exec\.apiVersion: is missing/],
    [
      { user: 'exec: { command: a, apiVersion: client.authentication.k8s.io/v1alpha1 }' },
      /must be .*v1beta1, not/,
    ],
    [{ user: 'token: 5' }, /user\.token: must be a string, not 5/],
    [{ context: 'cluster: other' }, /has no cluster 'other'/],
    [{ context: 'cluster: c, user: other' }, /has no user 'other'/],
    [{ rest: '---\na: 1' }, /is a second document|current-context/],
  ];
  for (const [parts, message] of cases) assert.throws(() => read(parts), { message }, String(message));
  assert.throws(() => readKubeconfig([{ path: 'config', text: 'a: [' }]), { code: 'CONFIG_INVALID' });
});
