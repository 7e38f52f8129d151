import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIp } from '../../../src/ip/address.ts';
import { parseCidr } from '../../../src/ip/cidr.ts';
import type { PodEntity } from '../../../src/policy/model/entity.ts';
import { nameservers, trusted } from '../../../src/policy/names/resolvers.ts';
import { podOf } from '../observe/policies.ts';

test('the servers of a resolv.conf, but for this host’s own', () => {
  const text = [
    '# nameserver 192.0.2.7',
    'search example.org',
    'nameserver 192.0.2.1',
    '  nameserver\t2001:db8::53  ',
    'nameserver 127.0.0.53',
    'nameserver ::1',
    'nameserver fe80::1%eth0',
    'nameserver',
    'nameservers 192.0.2.8',
  ].join('\n');
  assert.deepEqual(nameservers(text), ['192.0.2.1', '2001:db8::53']);
});

test('the cluster’s DNS pods are believed, and none that only looks like them', () => {
  const pod = (ip: string, namespace: string, labels: Record<string, string>): PodEntity => ({
    ...podOf('dns', ip),
    namespace,
    labels,
  });
  const entities = [
    pod('10.0.0.53', 'kube-system', { 'k8s-app': 'kube-dns' }),
    pod('10.0.0.54', 'default', { 'k8s-app': 'kube-dns' }),
    pod('10.0.0.55', 'kube-system', { 'k8s-app': 'other' }),
  ];
  assert.deepEqual(trusted(entities, [parseIp('192.0.2.1')], []), ['10.0.0.53/32', '192.0.2.1/32']);
  // Networks in others would be refused by the kernel.
  const nets = ['192.0.2.0/24', '10.0.0.53/32', '192.0.2.0/25', '2001:db8::/64'].map(parseCidr);
  assert.deepEqual(trusted(entities, [parseIp('192.0.2.1')], nets), [
    '10.0.0.53/32',
    '192.0.2.0/24',
    '2001:db8::/64',
  ]);
});
