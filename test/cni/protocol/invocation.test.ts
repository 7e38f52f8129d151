import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CniError, errorObject } from '../../../src/cni/protocol/error.ts';
import { COMMANDS, readCommand, readInvocation, versionOf } from '../../../src/cni/protocol/invocation.ts';
import { newest, VERSIONS } from '../../../src/cni/protocol/version.ts';

const ENV = {
  CNI_COMMAND: 'ADD',
  CNI_CONTAINERID: 'abc',
  CNI_NETNS: '/n',
  CNI_IFNAME: 'eth0',
  CNI_PATH: '/x',
};
const CONF = { cniVersion: '1.0.0', name: 'net', type: 'flatnet' };

function read(env: Record<string, string | undefined>, stdin: string) {
  const command = readCommand(env);
  return command === 'VERSION' ? undefined : readInvocation(command, env, stdin);
}

function errorOf(env: Record<string, string | undefined>, stdin = JSON.stringify(CONF)) {
  try {
    read(env, stdin);
  } catch (error) {
    return errorObject(error, versionOf(stdin));
  }
  return assert.fail('it was accepted');
}

test('all missing variables are named in one error with code 4', () => {
  const text = (env: Record<string, string>) => errorOf(env).msg;
  assert.equal(
    text({ CNI_COMMAND: 'ADD' }),
    'required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH] missing',
  );
  // DEL must work without a namespace.
  assert.equal(
    text({ CNI_COMMAND: 'DEL' }),
    'required env variables [CNI_CONTAINERID,CNI_IFNAME,CNI_PATH] missing',
  );
  assert.equal(text({ CNI_COMMAND: 'GC' }), 'required env variables [CNI_PATH] missing');
  assert.equal(errorOf({ CNI_COMMAND: 'STATUS' }).code, 4);
  assert.equal(text({ ...ENV, CNI_COMMAND: 'add' }), 'unknown CNI_COMMAND: add');
  assert.equal(readCommand({ CNI_COMMAND: 'VERSION' }), 'VERSION');
});

test('invalid input gives the reference’s codes and texts', () => {
  const cases: readonly [env: object, stdin: string, code: number, msg: RegExp][] = [
    [{}, '', 6, /^error unmarshall network config: /],
    [{}, '{', 6, /^error unmarshall network config: /],
    [{}, '[]', 6, /^error unmarshall network config: /],
    [{}, 'null', 7, /^missing network name$/],
    [{}, '{}', 7, /^missing network name$/],
    [{}, '{"name":"a b"}', 7, /^invalid characters found in network name$/],
    [{}, '{"name":7}', 6, /name/],
    [{}, '{"name":"n","cniVersion":"9.0.0"}', 1, /^incompatible CNI versions$/],
    [{}, '{"name":"n","cniVersion":7}', 6, /cniVersion/],
    [{ CNI_CONTAINERID: 'a/b' }, JSON.stringify(CONF), 4, /^invalid characters in containerID$/],
    [{ CNI_CONTAINERID: '.a' }, JSON.stringify(CONF), 4, /^invalid characters in containerID$/],
    [{ CNI_IFNAME: '..' }, JSON.stringify(CONF), 4, /^interface name is \. or \.\.$/],
    [
      { CNI_IFNAME: 'a:b' },
      JSON.stringify(CONF),
      4,
      /^interface name contains \/ or : or whitespace characters$/,
    ],
    [{ CNI_IFNAME: 'e'.repeat(16) }, JSON.stringify(CONF), 4, /^interface name is too long$/],
    [{ CNI_IFNAME: 'e\u0001' }, JSON.stringify(CONF), 4, /^interface name contains control characters$/],
    [
      { CNI_ARGS: 'IgnoreUnknown=1;K8S_POD_NAMESPACE=a;K8S_POD_NAME=web\nflatnet kube-system/dns' },
      JSON.stringify(CONF),
      4,
      /^ARGS: K8S_POD_NAME contains control characters$/,
    ],
    [{ CNI_ARGS: 'K8S_POD_NAMESPACE=\u001b[2J' }, JSON.stringify(CONF), 4, /K8S_POD_NAMESPACE contains/],
    [{ CNI_ARGS: 'K8S_POD_UID=a\u007f' }, JSON.stringify(CONF), 4, /K8S_POD_UID contains/],
    [{ CNI_ARGS: 'A' }, JSON.stringify(CONF), 4, /^ARGS: invalid pair "A"$/],
    [{ CNI_ARGS: 'FOO=1;IP=10.0.0.1' }, JSON.stringify(CONF), 4, /^ARGS: unknown args \[FOO\]$/],
    [
      { CNI_COMMAND: 'CHECK' },
      '{"name":"n","cniVersion":"0.3.1"}',
      1,
      /^config version does not allow CHECK$/,
    ],
    [{ CNI_COMMAND: 'GC' }, '{"name":"n","cniVersion":"1.0.0"}', 1, /^config version does not allow GC$/],
    [{ CNI_COMMAND: 'STATUS' }, '{"name":"n"}', 1, /^config version does not allow STATUS$/],
  ];
  for (const [env, stdin, code, msg] of cases) {
    const error = errorOf({ ...ENV, ...env }, stdin);
    assert.equal(error.code, code, `${JSON.stringify(env)} ${stdin}`);
    assert.match(error.msg, msg);
  }
  assert.equal(
    errorOf(ENV, '{"name":"n","cniVersion":"9.0.0"}').details,
    'config is "9.0.0", plugin supports ["0.1.0" "0.2.0" "0.3.0" "0.3.1" "0.4.0" "1.0.0" "1.1.0"]',
  );
});

test('a call’s variables and configuration are parsed', () => {
  const call = read(
    { ...ENV, CNI_ARGS: 'IgnoreUnknown=1;K8S_POD_NAME=web-0;X=y' },
    JSON.stringify({ CNIVersion: '0.4.0', NAME: 'net' }),
  );
  assert.equal(call?.version, '0.4.0');
  assert.equal(call?.network, 'net');
  assert.equal(call?.args.get('K8S_POD_NAME'), 'web-0');
  // Without a version, the configuration has the first one.
  assert.equal(read(ENV, '{"name":"n"}')?.version, '0.1.0');
  // Malformed variables must not prevent a DEL.
  assert.equal(read({ ...ENV, CNI_COMMAND: 'DEL', CNI_ARGS: 'nonsense' }, '{"name":"n"}')?.args.size, 0);
});

test('a runtime chooses the newest version offered', () => {
  assert.equal(newest(['1.0.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0', '7.0.0']), '1.1.0');
  assert.equal(newest(['7.0.0']), undefined);
});

test('any input gives a call or a valid error object', () => {
  const text = fc.oneof(
    fc.string(),
    fc.constantFrom('', 'eth0', 'abc', '1.0.0', 'ADD', 'DEL', 'K=V;', '=', ';;'),
  );
  const env = fc.record(
    {
      CNI_COMMAND: fc.oneof(fc.constantFrom(...COMMANDS), text),
      CNI_CONTAINERID: text,
      CNI_NETNS: text,
      CNI_IFNAME: text,
      CNI_ARGS: text,
      CNI_PATH: text,
    },
    { requiredKeys: [] },
  );
  const conf = fc.oneof(
    fc.json(),
    text,
    fc
      .record({
        name: fc.oneof(text, fc.jsonValue()),
        cniVersion: fc.oneof(fc.constantFrom(...VERSIONS), text, fc.jsonValue()),
      })
      .map((value) => JSON.stringify(value)),
  );
  fc.assert(
    fc.property(env, conf, (env, stdin) => {
      try {
        read(env, stdin);
      } catch (error) {
        assert.ok(error instanceof CniError, String(error));
        const printed = JSON.parse(JSON.stringify(errorObject(error, versionOf(stdin))));
        assert.ok((VERSIONS as readonly string[]).includes(printed.cniVersion));
        assert.ok([1, 4, 6, 7].includes(printed.code), `code ${printed.code}`);
        assert.ok(printed.msg.length > 0);
      }
    }),
    { numRuns: 2000 },
  );
});
