import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Fields } from '../../../src/cluster/fields.ts';
import { readTuning } from '../../../src/cni/capabilities/tuning.ts';

const read = (conf: object) => readTuning(new Fields(conf), 'eth0');

test('settings with dots, with slashes, and for the interface of the call', () => {
  const sysctl = {
    'net.core.somaxconn': '500',
    'net/ipv4/conf/eth0.7/arp_filter': '1',
    'net.ipv4.conf.IFNAME.arp_filter': '1',
  };
  assert.deepEqual(read({ sysctl, promisc: true, allmulti: false, txQLen: 0 }), {
    sysctls: [
      ['net/core/somaxconn', '500'],
      ['net/ipv4/conf/eth0.7/arp_filter', '1'],
      ['net/ipv4/conf/eth0/arp_filter', '1'],
    ],
    promisc: true,
    allmulti: false,
    txQueueLength: 0,
  });
  assert.deepEqual(read({ promisc: false }), { sysctls: [] });
});

test('only settings below net, whatever the path says', () => {
  for (const key of [
    'kernel.hostname',
    'net',
    'net/../kernel/hostname',
    'net/./../kernel/hostname',
    '../net/core/somaxconn',
    '/net/core/somaxconn',
    'net//core/somaxconn',
    'net..core',
    'net/core/so\0maxconn',
    '/proc/sys/net/core/somaxconn',
    'networks.core',
    '',
  ])
    assert.throws(() => read({ sysctl: { [key]: '1' } }), /is not a setting below net/, JSON.stringify(key));
  assert.throws(() => read({ sysctl: { 'net.core.somaxconn': 500 } }), /must be a string/);
  assert.throws(() => read({ txQLen: -1 }), /txQLen/);
});
