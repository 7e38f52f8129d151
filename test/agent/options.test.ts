import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DEFAULT_PATHS, readAgentOptions } from '../../src/agent/options.ts';

test('a node name is enough', () => {
  const options = readAgentOptions({ node: 'node1' });
  assert.deepEqual(options.paths, DEFAULT_PATHS);
  assert.ok('endpoints' in options.store);
  assert.deepEqual(options.store.endpoints, ['http://127.0.0.1:2379']);
  assert.deepEqual(options.labels, {});
});

test('credentials and TLS for a store with authentication', () => {
  const store = {
    endpoints: ['https://10.0.0.1:2379'],
    tls: { caFile: '/etc/ca.pem', certFile: '/etc/cert.pem', keyFile: '/etc/key.pem' },
    username: 'flatnet',
    password: 'secret',
  };
  const read = readAgentOptions({ node: 'node1', store }).store;
  assert.deepEqual(read, { ...store, prefix: undefined, leaseTtl: undefined });
});

test('the Kubernetes API as the store', () => {
  const kubernetes = {
    kubeconfig: '/etc/flatnet/kubeconfig',
    context: undefined,
    annotationPrefix: 'example.com',
    networkFile: '/etc/kube-flannel/net-conf.json',
    configMap: undefined,
    namespace: 'kube-system',
    setNetworkUnavailable: false,
  };
  assert.deepEqual(readAgentOptions({ node: 'a', store: { kubernetes } }).store, { kubernetes });
  assert.ok('kubernetes' in readAgentOptions({ node: 'a', store: { kubernetes: {} } }).store);
});

test('errors name the field', () => {
  const wrong: [object, RegExp][] = [
    [{}, /^node: is missing/],
    [{ node: 'a', publicIp: 'fd00::1' }, /^publicIp: .*is IPv6; IPv4 belongs here/],
    [{ node: 'a', publicIpv6: '192.0.2.1' }, /^publicIpv6: .*is IPv4; IPv6 belongs here/],
    [{ node: 'a', publicIp: '192.0.2' }, /^publicIp: .*is not an IP address/],
    [{ node: 'a', labels: ['x'] }, /^labels: must be an object of strings/],
    [
      { node: 'a', store: { kubernetes: {}, leaseTtl: 60 } },
      /^store\.leaseTtl: is etcd’s: leave out either it or kubernetes/,
    ],
    [
      { node: 'a', store: { kubernetes: { kubeConf: '' } } },
      /^store\.kubernetes\.kubeConf: is not a known key/,
    ],
    [{ node: 'a', store: { endpoints: [1] } }, /^store\.endpoints\[0\]: must be a string/],
    [{ node: 'a', store: { tls: { caFile: 7 } } }, /^store\.tls\.caFile: must be a string/],
    [{ node: 'a', store: { leaseTtl: 1 } }, /^store\.leaseTtl: must be a whole number from 5/],
    [{ node: 'a', logLevel: 'verbose' }, /^logLevel: 'verbose' is not a level; use one of debug, info/],
  ];
  for (const [value, message] of wrong) {
    assert.throws(() => readAgentOptions(value), { code: 'CONFIG_INVALID', message });
  }
});

test('an unknown key is an error that names it and the nearest known one', () => {
  const wrong: [object, RegExp][] = [
    [
      { node: 'a', store: { endpoint: ['http://10.0.0.1:2379'] } },
      /^store\.endpoint: is not a known key; did you mean endpoints\?$/,
    ],
    [{ node: 'a', stroe: {} }, /^stroe: is not a known key; did you mean store\?$/],
    [{ node: 'a', paths: { cniconfig: '/x' } }, /^paths\.cniconfig: .*; did you mean cniConf\?$/],
    [
      { node: 'a', store: { tls: { ca: 'x' } } },
      /^store\.tls\.ca: .*; the keys are caFile, certFile, keyFile$/,
    ],
    [
      { node: 'a', wireguard: true },
      /^wireguard: .*; the keys are allowExtension, health, iface, labels, logLevel, node, paths,/,
    ],
  ];
  for (const [value, message] of wrong) {
    assert.throws(() => readAgentOptions(value), { code: 'CONFIG_INVALID', message });
  }
  const labels = { endpoint: 'x', 'topology.kubernetes.io/zone': 'a' };
  assert.deepEqual(readAgentOptions({ NODE: 'a', labels, iface: null }).labels, labels);
});
