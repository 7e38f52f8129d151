import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readNetwork } from '../../src/cluster/network.ts';
import { sysctlFindings } from '../../src/doctor/sysctls.ts';
import { parseIp } from '../../src/ip/address.ts';

const NETWORK = readNetwork({ Network: '10.244.0.0/16', EnableIPv6: true, IPv6Network: 'fd00:244::/56' });
const UNDERLAY = { dev: 'eth0.5', mtu: 1500, addresses: { 4: parseIp('10.0.0.1') }, onLink: [] };

const WELL: Readonly<Record<string, string>> = {
  'net/ipv4/ip_forward': '1',
  'net/ipv4/conf/all/rp_filter': '1',
  'net/ipv4/conf/flannel.1/rp_filter': '2',
  // The kernel has the setting for every device.
  'net/ipv4/conf/flannel-v6.1/rp_filter': '0',
  'net/ipv4/conf/flannel-gre6/rp_filter': '0',
  'net/ipv4/conf/flannel-macvlan/rp_filter': '1',
  'net/ipv4/conf/eth0.5/rp_filter': '1',
  'net/ipv4/conf/tunl0/rp_filter': '0',
  'net/ipv6/conf/all/forwarding': '1',
  'net/ipv6/conf/all/disable_ipv6': '0',
  'net/ipv6/conf/eth0.5/accept_ra': '2',
  'net/bridge/bridge-nf-call-iptables': '1',
  'net/bridge/bridge-nf-call-ip6tables': '1',
};

function examine(changes: Readonly<Record<string, string | undefined>>) {
  const values: Readonly<Record<string, string | undefined>> = { ...WELL, ...changes };
  const read = (path: string): string | undefined => values[path];
  const devices = ['eth0.5', 'flannel.1', 'flannel-v6.1', 'flannel-gre6', 'flannel-macvlan', 'tunl0'];
  return sysctlFindings({ network: NETWORK, underlay: UNDERLAY, devices, read });
}

test('settings that let packets pass', () => {
  assert.deepEqual(
    examine({}).map(({ state }) => state),
    Array.from({ length: 7 }, () => 'ok'),
  );
});

const TROUBLES: readonly (readonly [path: string, value: string | undefined, state: string, text: RegExp])[] =
  [
    [
      'net/ipv4/ip_forward',
      '0',
      'wrong',
      /^net\.ipv4\.ip_forward is 0: .*; sysctl -w net\.ipv4\.ip_forward=1/,
    ],
    ['net/ipv6/conf/all/forwarding', '0', 'wrong', /IPv6 packets of pods; sysctl/],
    ['net/ipv6/conf/all/disable_ipv6', '1', 'wrong', /switched off; sysctl -w .*disable_ipv6=0/],
    ['net/ipv6/conf/eth0.5/accept_ra', '1', 'wrong', /; sysctl -w net\.ipv6\.conf\.eth0\/5\.accept_ra=2$/],
    [
      'net/ipv4/conf/flannel.1/rp_filter',
      '0',
      'wrong',
      /^net\.ipv4\.conf\.flannel\/1\.rp_filter is 1 in effect/,
    ],
    ['net/bridge/bridge-nf-call-iptables', undefined, 'note', /is absent: .*; modprobe br_netfilter; /],
  ];
for (const [path, value, state, text] of TROUBLES) {
  test(`${path} is ${value ?? 'absent'}`, () => {
    const found = examine({ [path]: value }).filter((finding) => finding.state !== 'ok');
    assert.equal(found.length, 1);
    assert.equal(found[0]?.state, state);
    assert.match(`${found[0]?.what}; ${found[0]?.fix}`, text);
  });
}

test('with BGP, tunl0 carries packets', () => {
  const network = readNetwork({ Network: '10.0.0.0/8', wiring: 'routed', Backend: { Type: 'bgp' } });
  const read = (path: string) => (path.includes('rp_filter') ? '1' : WELL[path]);
  const found = sysctlFindings({ network, underlay: UNDERLAY, devices: ['tunl0'], read });
  assert.deepEqual(
    found.map(({ state }) => state),
    ['ok', 'wrong'],
  );
});

test('on a physical network, the node forwards nothing', () => {
  const network = readNetwork({
    Network: '172.30.0.0/17',
    EnableIPv6: true,
    IPv6Network: 'fd77::/64',
    IPv6SubnetLen: 80,
    wiring: 'macvlan',
  });
  const read = (path: string) => (path.endsWith('disable_ipv6') ? '1' : '0');
  const found = sysctlFindings({ network, underlay: UNDERLAY, devices: ['flannel-macvlan'], read });
  assert.deepEqual(
    found.map(({ state, what }) => `${state} ${what}`),
    ['wrong net.ipv6.conf.all.disable_ipv6 is 1: IPv6 is switched off'],
  );
});
