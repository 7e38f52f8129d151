import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Fields } from '../../../src/cluster/fields.ts';
import { readInvocation } from '../../../src/cni/protocol/invocation.ts';
import { ANNOTATIONS, podIdentity, podRequests } from '../../../src/cni/protocol/pod.ts';

function identity(args: string, conf: object = {}) {
  const env = { CNI_CONTAINERID: 'c', CNI_IFNAME: 'eth0', CNI_NETNS: '/n', CNI_ARGS: args };
  return podIdentity(readInvocation('ADD', env, JSON.stringify({ name: 'cbr0', type: 'flatnet', ...conf })));
}

test('a pod’s namespace, name and UID come from CNI_ARGS, its labels from args.cni', () => {
  assert.deepEqual(identity(''), { labels: {} });
  assert.deepEqual(identity('IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0'), {
    namespace: 'default',
    name: 'web-0',
    labels: {},
  });
  assert.deepEqual(identity('K8S_POD_UID=5c6f;K8S_POD_NAME=web').uid, '5c6f');
  const labels = [
    { key: 'app', value: 'web' },
    { key: 'empty', value: '' },
    { key: '__proto__', value: 'harmless' },
  ];
  const { labels: read } = identity('', { args: { cni: { labels } } });
  assert.deepEqual(Object.entries(read), [
    ['app', 'web'],
    ['empty', ''],
    ['__proto__', 'harmless'],
  ]);
});

test('malformed labels are refused, naming the field', () => {
  const refused = (labels: unknown, object: string) =>
    assert.throws(
      () => identity('', { args: { cni: { labels } } }),
      (error: { code?: string; object?: string }) =>
        error.code === 'CONFIG_INVALID' && error.object === object,
    );
  refused('app=web', 'args.cni.labels');
  refused([{ value: 'web' }], 'args.cni.labels[0].key');
  refused(
    [
      { key: 'app', value: 'web' },
      { key: 'tier', value: 1 },
    ],
    'args.cni.labels[1].value',
  );
});

test('an empty annotation asks for nothing', () => {
  const names = ['ipAddrs', 'ipv4pools', 'ipv6pools', 'hwAddr', 'floatingIPs', 'ipAddrsNoIpam'];
  const empty = Object.fromEntries(names.map((name) => [`cni.projectcalico.org/${name}`, '']));
  assert.deepEqual(podRequests(new Fields({ runtimeConfig: { [ANNOTATIONS]: empty } })), {
    ips: [],
    pools: [],
    mac: undefined,
  });
});
