import { parseIp } from '../../../src/ip/address.ts';
import { parseCidr, parsePrefixed } from '../../../src/ip/cidr.ts';
import { parseMac } from '../../../src/ip/mac.ts';
import type { Found, FoundPort, FoundReservation, FoundResult } from '../../../src/takeover/flannel/found.ts';

export const MAC = parseMac('5a:00:00:00:00:05');

export function reservation(
  ip: string,
  containerId: string,
  ifName = 'eth0',
  isNew = false,
): FoundReservation {
  return { dir: '/var/lib/cni/networks/cbr0', ip: parseIp(ip), containerId, ifName, isNew };
}

/** A port whose pod shows these addresses. */
export function port(name: string, ips: readonly string[], changes: Partial<FoundPort> = {}): FoundPort {
  const addresses = ips.map(parseIp);
  const inside = { netns: `/run/netns/${name}`, netnsId: 4026532000, ifName: 'eth0', mac: MAC, addresses };
  return { name, mtu: 1450, hairpin: true, isOurs: false, inside, ...changes };
}

export function result(containerId: string, hostDevice: string): FoundResult {
  const pod = { namespace: 'default', podName: containerId };
  return { containerId, ifName: 'eth0', hostDevice, mac: MAC, ...pod, hostPorts: [], isLimited: false };
}

/** A usual node of flannel's: one pod, the agent ready and flanneld stopped. */
export function usualNode(changes: Partial<Found> = {}): Found {
  return {
    agent: { subnets: [parseCidr('10.244.1.0/24')], backend: 'vxlan', pods: [] },
    flanneld: [],
    subnets: [parseCidr('10.244.1.0/24')],
    devices: [{ name: 'flannel.1', kind: 'vxlan', mac: MAC, vni: 1, port: 8472 }],
    bridge: { name: 'cni0', addresses: [parsePrefixed('10.244.1.1/24')] },
    confs: [
      {
        file: '/etc/cni/net.d/10-flannel.conflist',
        name: 'cbr0',
        types: ['flannel', 'portmap'],
        delegate: { type: 'bridge', bridge: 'cni0' },
      },
      { file: '/etc/cni/net.d/10-flatnet.conflist', name: 'cbr0', types: ['flatnet'] },
    ],
    reservations: [reservation('10.244.1.5', 'web')],
    ourReservations: '/var/lib/cni/networks/cbr0',
    results: [result('web', 'veth5')],
    resultFiles: ['cbr0-web-eth0'],
    scratch: ['web'],
    ports: [port('veth5', ['10.244.1.5'])],
    rules: [
      { family: 'ip', table: 'nat', chains: ['FLANNEL-POSTRTG'], leads: 1, size: 3 },
      { family: 'ip', table: 'filter', chains: ['FLANNEL-FWD'], leads: 1, size: 2 },
    ],
    unread: [],
    ...changes,
  };
}
