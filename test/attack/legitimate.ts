import { setTimeout as sleep } from 'node:timers/promises';
import type { Host, Scene } from './attacks.ts';
import * as p from './packets.ts';
import { Wire } from './wire.ts';

/** What must work with the guard, by name; resolves to whether it does. */
type Check = readonly [
  name: string,
  wirings: readonly Scene['wiring'][],
  works: (scene: Scene) => Promise<boolean>,
];

const BOTH = ['bridge', 'routed'] as const;
const BRIDGE = ['bridge'] as const;

function pings({ pod }: Host, address: string, ...options: string[]): boolean {
  try {
    pod.run('ping', '-nc1', '-W2', ...options, address);
    return true;
  } catch {
    return false;
  }
}

/** Whether a frame from the attacker arrives at its neighbour. */
async function arrives({ attacker, victim }: Scene, frame: Buffer, mark: Uint8Array): Promise<boolean> {
  using from = new Wire(attacker.pod.netns, 'eth0');
  using to = new Wire(victim.pod.netns, 'eth0');
  from.send(frame);
  await sleep(30);
  return to.received().some((bytes) => bytes.includes(mark));
}

export const CHECKS: readonly Check[] = [
  [
    'pods reach their neighbours, their node and pods of other nodes',
    BOTH,
    async ({ attacker, victim, remote, underlay }) =>
      [victim, remote, underlay[0], underlay[1]].every(
        ({ v4, v6 }) => pings(attacker, v4) && pings(attacker, v6),
      ),
  ],
  [
    'and are reached',
    BOTH,
    async ({ attacker, remote }) => pings(remote, attacker.v4) && pings(remote, attacker.v6),
  ],
  [
    'large packets, in fragments',
    BOTH,
    async ({ attacker, victim }) =>
      pings(attacker, victim.v4, '-s', '6000') && pings(attacker, victim.v6, '-s', '6000'),
  ],
  [
    'neighbours resolved anew, by both sides',
    BOTH,
    async ({ attacker, victim, node, wiring }) => {
      for (const { pod } of [attacker, victim]) pod.ip('neigh flush all');
      if (wiring === 'bridge') node.namespace.ip('neigh flush dev cni0');
      return pings(attacker, victim.v4) && pings(attacker, victim.v6);
    },
  ],
  [
    'the node probes a pod’s address',
    BRIDGE,
    async ({ attacker, node }) => {
      for (const address of [attacker.v4, attacker.v6]) {
        node.namespace.run('ping', '-nc1', '-W2', address);
        node.namespace.ip(`neigh change ${address} dev cni0 lladdr ${attacker.mac} nud probe`);
      }
      await sleep(1500);
      return [attacker.v4, attacker.v6].every((address) =>
        node.namespace.ip(`neigh show ${address} dev cni0`).includes('REACHABLE'),
      );
    },
  ],
  [
    'duplicate address detection of its own addresses',
    BRIDGE,
    async ({ attacker }) => {
      attacker.pod.run('sysctl', '-qw', 'net/ipv6/conf/eth0/accept_dad=1');
      attacker.pod.ip(`address del ${attacker.v6}/64 dev eth0`);
      attacker.pod.ip(`address add ${attacker.v6}/64 dev eth0`);
      await sleep(2500);
      const text = attacker.pod.ip('-6 address show dev eth0');
      return text.includes(attacker.v6) && !/tentative|dadfailed/.test(text);
    },
  ],
  [
    'a duplicate is still found: the owner’s answer arrives',
    BRIDGE,
    async (scene) => {
      const { attacker } = scene;
      const bytes = p.neighbour(attacker.v6, 'ff02::1', 136, attacker.v6, attacker.mac);
      const whole = p.packet(attacker.v6, 'ff02::1', p.PROTOCOL.icmp6, bytes);
      return arrives(scene, p.frame('33:33:00:00:00:01', attacker.mac, p.TYPE.ip6, whole), bytes);
    },
  ],
  [
    'gratuitous ARP for its own address, and a probe',
    BRIDGE,
    async (scene) => {
      const { attacker } = scene;
      const own = [attacker.mac, attacker.v4] satisfies [string, string];
      const gratuitous = p.arp(1, own, own);
      const probe = p.arp(1, [attacker.mac, '0.0.0.0'], ['00:00:00:00:00:00', attacker.v4]);
      for (const bytes of [gratuitous, probe]) {
        if (!(await arrives(scene, p.frame(p.BROADCAST, attacker.mac, p.TYPE.arp, bytes), bytes)))
          return false;
      }
      return true;
    },
  ],
  [
    'a pod reaches itself through a service',
    BRIDGE,
    async ({ attacker, node }) => {
      const nft = (command: string) => node.namespace.run('nft', command);
      nft('add table ip service');
      nft('add chain ip service pre { type nat hook prerouting priority dstnat; }');
      nft('add chain ip service post { type nat hook postrouting priority srcnat; }');
      nft(`add rule ip service pre ip daddr 10.96.0.1 dnat to ${attacker.v4}`);
      nft(`add rule ip service post ip saddr ${attacker.v4} ip daddr ${attacker.v4} masquerade`);
      try {
        return pings(attacker, '10.96.0.1');
      } finally {
        nft('delete table ip service');
      }
    },
  ],
  [
    'joining an IPv4 multicast group',
    BRIDGE,
    async (scene) => {
      const { attacker } = scene;
      const report = p.icmp(0x16, 0, Buffer.from([239, 1, 2, 3]));
      const whole = p.packet(attacker.v4, '239.1.2.3', p.PROTOCOL.igmp, report);
      return arrives(scene, p.frame('01:00:5e:01:02:03', attacker.mac, p.TYPE.ip, whole), report);
    },
  ],
  [
    'multicast listener reports and router solicitations',
    BRIDGE,
    async (scene) => {
      const { attacker } = scene;
      for (const [src, type] of [
        [attacker.linkLocal, 143],
        ['::', 143],
        [attacker.linkLocal, 133],
      ] as const) {
        const body = p.icmp6(src, 'ff02::16', type, Buffer.alloc(20, type));
        const whole = p.packet(src, 'ff02::16', p.PROTOCOL.icmp6, body);
        const frame = p.frame('33:33:00:00:00:16', attacker.mac, p.TYPE.ip6, whole);
        if (!(await arrives(scene, frame, body))) return false;
      }
      return true;
    },
  ],
];
