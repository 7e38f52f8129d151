import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type { RoutedNode, RoutedPod } from '../wiring/routed-node.ts';
import * as p from './packets.ts';

/** The scene of an attack: a pod attacks its neighbour on the node and a pod of the other node. */
export type Scene = {
  readonly wiring: 'bridge' | 'routed';
  readonly node: RoutedNode;
  readonly other: RoutedNode;
  readonly attacker: Host;
  readonly victim: Host;
  readonly remote: Host;
  /** What the attacker's frames to its gateway carry. */
  readonly gateway: { readonly mac: string; readonly v4: string; readonly v6: string };
  /** The nodes' addresses on the underlay, and the MACs of their VTEPs. */
  readonly underlay: readonly [End, End];
};

export type Host = {
  readonly pod: RoutedPod;
  readonly mac: string;
  readonly v4: string;
  readonly v6: string;
  readonly linkLocal: string;
};

export type End = {
  readonly v4: string;
  readonly v6: string;
  readonly mac: string;
  readonly vteps: { readonly 4: string; readonly 6: string };
};

/** Frames to send, and how it shows that they had an effect. */
export type Attempt = {
  /** Sent before, by an accomplice on the underlay. */
  readonly accomplice?: readonly Uint8Array[];
  readonly frames: readonly Uint8Array[];
  /** They arrive, recognised by these bytes, at a pod. Default: the attacker's neighbour. */
  readonly arrives?: Uint8Array;
  readonly at?: 'victim' | 'remote';
  /** Otherwise the kernel shows it. */
  readonly shows?: () => boolean;
};

export type Attack = {
  readonly name: string;
  readonly wirings: readonly Scene['wiring'][];
  /** Whose interface sends: the attacking pod's, or the underlay's of the other node. Default: the pod's. */
  readonly from?: 'outside';
  /** What stops it, if not the guard: then it has no effect without it either. */
  readonly stoppedBy?: string;
  readonly attempt: (scene: Scene) => Attempt;
};

const BOTH = ['bridge', 'routed'] as const;
const BRIDGE = ['bridge'] as const;
const ALL_NODES = 'ff02::1';
const ALL_NODES_MAC = '33:33:00:00:00:01';
const OUTSIDE = { 4: '198.51.100.7', 6: '2001:db8::7' } as const;
const STRANGER = { 4: '172.16.0.77', 6: 'fd00::77' } as const;
/** Leads to the attacker. */
export const HOST_PORT = 5300;
/** At this port, it leads to the other node's VXLAN port. */
export const SERVICE = { 4: '10.255.0.9', 6: 'fd88::9' } as const;
const NO_MAC = '00:00:00:00:00:00';
type Family = 4 | 6;
const FAMILIES = [4, 6] as const;

const etherType = (family: Family): number => (family === 4 ? p.TYPE.ip : p.TYPE.ip6);
const of = (host: { readonly v4: string; readonly v6: string }, family: Family): string =>
  family === 4 ? host.v4 : host.v6;

/** The MAC by which the attacker sends to its neighbour: the neighbour's, or the node's where it routes. */
const next = ({ wiring, victim, gateway }: Scene): string => (wiring === 'bridge' ? victim.mac : gateway.mac);

/** A datagram from `src` with a mark of its own. */
function datagram(src: string, dst: string, ports: [number, number] = [4242, 4343]) {
  const mark = randomBytes(16);
  return { mark, bytes: p.packet(src, dst, p.PROTOCOL.udp, p.udp(src, dst, ports, mark)) };
}

/** A frame to a node's VTEP with a datagram for a pod inside, as if it came from a pod of the other node. */
function encapsulated(scene: Scene, family: Family, to: 'victim' | 'remote') {
  const [here, there] = scene.underlay;
  const [vtep, inner] =
    to === 'victim'
      ? [here.vteps[family], of(scene.remote, family)]
      : [there.vteps[family], of(scene.attacker, family)];
  const target = to === 'victim' ? scene.victim : scene.remote;
  const { mark, bytes } = datagram(inner, of(target, family));
  return { mark, data: p.vxlan(1, p.frame(vtep, '02:00:00:00:00:99', etherType(family), bytes)) };
}

const spoofed = (family: Family, name: string, source: (scene: Scene) => string): Attack => ({
  name: `IPv${family}: ${name}`,
  wirings: BOTH,
  attempt: (scene) => {
    const { mark, bytes } = datagram(source(scene), of(scene.victim, family));
    return {
      frames: [p.frame(next(scene), scene.attacker.mac, etherType(family), bytes)],
      arrives: mark,
    };
  },
});

const tunnel = (family: Family, to: 'victim' | 'remote'): Attack => ({
  name: `IPv${family}: VXLAN to ${to === 'victim' ? 'its node' : 'another node'}`,
  wirings: BOTH,
  attempt: (scene) => {
    const { attacker, gateway, underlay } = scene;
    const { mark, data } = encapsulated(scene, family, to);
    const [src, dst] = [of(attacker, family), of(underlay[to === 'victim' ? 0 : 1], family)];
    const bytes = p.packet(src, dst, p.PROTOCOL.udp, p.udp(src, dst, [40000, 8472], data));
    return { frames: [p.frame(gateway.mac, attacker.mac, etherType(family), bytes)], arrives: mark, at: to };
  },
});

const fragmentedTunnel = (family: Family): Attack => ({
  name: `IPv${family}: VXLAN in fragments`,
  wirings: BOTH,
  attempt: (scene) => {
    const { attacker, gateway, underlay } = scene;
    const { mark, data } = encapsulated(scene, family, 'victim');
    const [src, dst] = [of(attacker, family), of(underlay[0], family)];
    const payload = p.udp(src, dst, [40000, 8472], data);
    return {
      frames: p
        .fragments(src, dst, p.PROTOCOL.udp, payload, 48)
        .map((bytes) => p.frame(gateway.mac, attacker.mac, etherType(family), bytes)),
      arrives: mark,
    };
  },
});

/** An IPv6 packet may say what it carries behind other headers. */
const tunnelBehindOptions: Attack = {
  name: 'IPv6: VXLAN behind an extension header',
  wirings: BOTH,
  attempt: (scene) => {
    const { attacker, gateway, underlay } = scene;
    const { mark, data } = encapsulated(scene, 6, 'victim');
    const payload = p.udp(attacker.v6, underlay[0].v6, [40000, 8472], data);
    const whole = p.extension(p.PROTOCOL.udp, payload);
    const bytes = p.packet(attacker.v6, underlay[0].v6, p.PROTOCOL.options, whole);
    return { frames: [p.frame(gateway.mac, attacker.mac, p.TYPE.ip6, bytes)], arrives: mark };
  },
};

/**
 * A host port leads to the attacker, whose answers leave with its node's address. The accomplice's packet is
 * one that the other node translated, and has forgotten by now (a pod keeps its own node's entry alive).
 */
const answeredTunnel = (family: Family): Attack => ({
  name: `IPv${family}: VXLAN to another node, as an answer through a host port`,
  wirings: BOTH,
  attempt: (scene) => {
    const { attacker, gateway, underlay } = scene;
    const { mark, data } = encapsulated(scene, family, 'remote');
    const [own, node, peer] = [attacker, ...underlay].map((each) => of(each, family));
    assert.ok(own && node && peer);
    const question = p.udp(peer, node, [8472, HOST_PORT], randomBytes(16));
    const answer = p.udp(own, peer, [HOST_PORT, 8472], data);
    const [first, second] = [
      p.packet(peer, node, p.PROTOCOL.udp, question),
      p.packet(own, peer, p.PROTOCOL.udp, answer),
    ];
    return {
      accomplice: [p.frame(underlay[0].mac, underlay[1].mac, etherType(family), first)],
      frames: [p.frame(gateway.mac, attacker.mac, etherType(family), second)],
      arrives: mark,
      at: 'remote',
    };
  },
});

/** A service leads to the other node's VXLAN port, and what goes there is masqueraded. */
const tunnelBehindService = (family: Family): Attack => ({
  name: `IPv${family}: VXLAN to another node, by way of a service`,
  wirings: BOTH,
  attempt: (scene) => {
    const { attacker, gateway } = scene;
    const { mark, data } = encapsulated(scene, family, 'remote');
    const [src, dst] = [of(attacker, family), SERVICE[family]];
    const bytes = p.packet(src, dst, p.PROTOCOL.udp, p.udp(src, dst, [40000, HOST_PORT], data));
    return {
      frames: [p.frame(gateway.mac, attacker.mac, etherType(family), bytes)],
      arrives: mark,
      at: 'remote',
    };
  },
});

const outsider = (
  family: Family,
  name: string,
  cut: (src: string, dst: string, payload: Buffer) => Buffer[],
): Attack => ({
  name: `IPv${family}: VXLAN from an outsider on the underlay${name}`,
  wirings: BOTH,
  from: 'outside',
  attempt: (scene) => {
    const [here, there] = scene.underlay;
    const { mark, data } = encapsulated(scene, family, 'victim');
    const [src, dst] = [STRANGER[family], of(here, family)];
    const payload = p.udp(src, dst, [40000, 8472], data);
    return {
      frames: cut(src, dst, payload).map((bytes) => p.frame(here.mac, there.mac, etherType(family), bytes)),
      arrives: mark,
    };
  },
});

/** A message that only a router or a server sends. */
const message = (
  name: string,
  build: (
    scene: Scene,
    mark: Buffer,
  ) => { dst: string; type: number; bytes: Uint8Array | readonly Uint8Array[] },
): Attack => ({
  name,
  wirings: BRIDGE,
  attempt: (scene) => {
    const mark = randomBytes(16);
    const { dst, type, bytes } = build(scene, mark);
    const pieces = bytes instanceof Uint8Array ? [bytes] : bytes;
    const frames = pieces.map((each) => p.frame(dst, scene.attacker.mac, type, each));
    return { frames, arrives: mark.subarray(0, 8) };
  },
});

/** From then on, the bridge sends all multicast to the attacker's port. */
const multicastRouter = (name: string, dst: string, protocol: number, payload: Buffer): Attack => ({
  name: `multicast: the bridge takes a pod for a router, by ${name}`,
  wirings: BRIDGE,
  attempt: ({ node, attacker }) => {
    const bytes = p.packet(attacker.v4, dst, protocol, payload);
    // The bridge forgets what the last attack taught it.
    for (const value of [0, 1]) {
      node.namespace.ip(`link set ${attacker.pod.device} type bridge_slave mcast_router ${value}`);
    }
    const [, ...low] = dst.split('.').map((byte) => Number(byte).toString(16).padStart(2, '0'));
    return {
      frames: [p.frame(`01:00:5e:${low.join(':')}`, attacker.mac, p.TYPE.ip, bytes)],
      shows: () => {
        const [tables] = JSON.parse(node.namespace.bridge('-d -j mdb show dev cni0'));
        return JSON.stringify(tables.router).includes(`"${attacker.pod.device}"`);
      },
    };
  },
});

const arpFrom = (
  name: string,
  build: (scene: Scene) => Parameters<typeof p.arp>,
  source: (scene: Scene) => string = ({ attacker }) => attacker.mac,
): Attack => ({
  name: `ARP: ${name}`,
  wirings: BRIDGE,
  attempt: (scene) => {
    const bytes = p.arp(...build(scene));
    return { frames: [p.frame(scene.victim.mac, source(scene), p.TYPE.arp, bytes)], arrives: bytes };
  },
});

/** A frame with another's source MAC: the bridge moves that MAC to the attacker's port. */
const stolen = (name: string, dst: string, type: number): Attack => ({
  name: `MAC: ${name}`,
  wirings: BRIDGE,
  attempt: ({ node, attacker, victim }) => {
    return {
      frames: [p.frame(dst, victim.mac, type, randomBytes(46))],
      shows: () =>
        node.namespace.bridge('fdb show br cni0').includes(`${victim.mac} dev ${attacker.pod.device}`),
    };
  },
});

export const ATTACKS: readonly Attack[] = [
  ...FAMILIES.flatMap((family): Attack[] => [
    spoofed(family, 'the source is a neighbour’s', ({ remote }) => of(remote, family)),
    spoofed(family, 'the source is outside the cluster', () => OUTSIDE[family]),
    // Between routed pods, the kernel takes such a packet for a martian.
    {
      ...spoofed(family, 'the source is the node’s', ({ underlay }) => of(underlay[0], family)),
      wirings: BRIDGE,
    },
    {
      name: `IPv${family}: a spoofed source to a pod of another node`,
      wirings: BOTH,
      attempt: ({ attacker, remote, gateway, victim }) => {
        const { mark, bytes } = datagram(of(victim, family), of(remote, family));
        const frames = [p.frame(gateway.mac, attacker.mac, etherType(family), bytes)];
        return { frames, arrives: mark, at: 'remote' };
      },
    },
    {
      name: `IPv${family}: a spoofed source behind a priority tag`,
      wirings: BRIDGE,
      attempt: ({ attacker, victim }) => {
        const { mark, bytes } = datagram(OUTSIDE[family], of(victim, family));
        const plain = p.frame(victim.mac, attacker.mac, etherType(family), bytes);
        return {
          frames: [p.tagged(plain), p.tagged(plain, p.TYPE.qinq), p.tagged(p.tagged(plain))],
          arrives: mark,
        };
      },
    },
    {
      name: `IPv${family}: another MAC with its own source`,
      wirings: BRIDGE,
      attempt: ({ attacker, victim }) => {
        const { mark, bytes } = datagram(of(attacker, family), of(victim, family));
        return {
          frames: [p.frame(victim.mac, '02:aa:aa:aa:aa:aa', etherType(family), bytes)],
          arrives: mark,
        };
      },
    },
    tunnel(family, 'victim'),
    tunnel(family, 'remote'),
    fragmentedTunnel(family),
    answeredTunnel(family),
    tunnelBehindService(family),
    outsider(family, '', (src, dst, payload) => [p.packet(src, dst, p.PROTOCOL.udp, payload)]),
    outsider(family, ', in fragments', (src, dst, payload) =>
      p.fragments(src, dst, p.PROTOCOL.udp, payload, 48),
    ),
  ]),
  tunnelBehindOptions,
  {
    ...outsider(6, ', whose port is in the second fragment', (src, dst, payload) =>
      p.fragments(src, dst, p.PROTOCOL.options, p.extension(p.PROTOCOL.udp, payload), 8),
    ),
    stoppedBy: 'the kernel (RFC 8200 §4.5)',
  },

  {
    name: 'MAC: flooding the bridge’s table',
    wirings: BRIDGE,
    attempt: ({ node, victim, attacker }) => ({
      frames: Array.from({ length: 40 }, (_, i) =>
        p.frame(victim.mac, `02:f1:00:00:00:${(16 + i).toString(16)}`, 0x88b5, randomBytes(46)),
      ),
      shows: () =>
        node.namespace
          .bridge('fdb show br cni0')
          .split('\n')
          .filter((line) => line.includes(`dev ${attacker.pod.device} `) && line.startsWith('02:f1')).length >
        0,
    }),
  },
  stolen('a neighbour’s, in a frame to nobody', '02:00:00:00:0b:ad', 0x88b5),
  // Netfilter does not see the first of these, and the second at another hook.
  { ...stolen('a neighbour’s, by LLDP', '01:80:c2:00:00:0e', 0x88cc), stoppedBy: 'no_linklocal_learn' },
  { ...stolen('a neighbour’s, by 802.1X', '01:80:c2:00:00:03', 0x888e), stoppedBy: 'no_linklocal_learn' },
  {
    name: 'MAC: another protocol',
    wirings: BRIDGE,
    attempt: ({ attacker, victim }) => {
      const mark = randomBytes(46);
      return { frames: [p.frame(victim.mac, attacker.mac, 0x88b5, mark)], arrives: mark };
    },
  },
  {
    name: 'MAC: a spanning tree message',
    wirings: BRIDGE,
    attempt: ({ attacker }) => {
      const mark = randomBytes(40);
      const llc = Buffer.concat([Buffer.from([0x42, 0x42, 0x03]), mark]);
      return { frames: [p.frame('01:80:c2:00:00:00', attacker.mac, llc.length, llc)], arrives: mark };
    },
  },

  arpFrom('a reply for the gateway', ({ attacker, victim, gateway }) => [
    2,
    [attacker.mac, gateway.v4],
    [victim.mac, victim.v4],
  ]),
  arpFrom('a request in the name of a neighbour', ({ attacker, victim, gateway }) => [
    1,
    [attacker.mac, gateway.v4],
    [NO_MAC, victim.v4],
  ]),
  arpFrom('its own address with another MAC', ({ attacker, victim }) => [
    2,
    ['02:aa:aa:aa:aa:aa', attacker.v4],
    [victim.mac, victim.v4],
  ]),
  arpFrom('a probe with another MAC', ({ victim }) => [
    1,
    ['02:aa:aa:aa:aa:aa', '0.0.0.0'],
    [NO_MAC, victim.v4],
  ]),
  arpFrom(
    'a frame from another MAC',
    ({ attacker, victim }) => [2, [attacker.mac, attacker.v4], [victim.mac, victim.v4]],
    () => '02:aa:aa:aa:aa:aa',
  ),
  {
    name: 'ARP: its node sends a neighbour’s packets to it',
    wirings: BRIDGE,
    attempt: ({ node, attacker, victim, gateway }) => ({
      frames: [
        p.frame(
          gateway.mac,
          attacker.mac,
          p.TYPE.arp,
          p.arp(1, [attacker.mac, victim.v4], [NO_MAC, gateway.v4]),
        ),
      ],
      shows: () => node.namespace.ip(`neigh show ${victim.v4} dev cni0`).includes(attacker.mac),
    }),
  },

  {
    name: 'ARP: filling the node’s neighbour table with invented senders',
    wirings: BOTH,
    attempt: ({ node, attacker, gateway }) => ({
      frames: Array.from({ length: 20 }, (_, i) =>
        p.frame(
          gateway.mac,
          attacker.mac,
          p.TYPE.arp,
          p.arp(1, [attacker.mac, `10.0.1.${200 + i}`], [NO_MAC, gateway.v4]),
        ),
      ),
      shows: () => /^10\.0\.1\.2\d\d dev/m.test(node.namespace.ip('-4 neigh show nud all')),
    }),
  },

  message('ICMP: a redirect', ({ attacker, victim }, mark) => ({
    dst: victim.mac,
    type: p.TYPE.ip,
    bytes: p.packet(attacker.v4, victim.v4, p.PROTOCOL.icmp, p.icmp(5, 1, mark)),
  })),
  message('ICMP: a router advertisement (RFC 1256)', ({ attacker, victim }, mark) => ({
    dst: victim.mac,
    type: p.TYPE.ip,
    bytes: p.packet(attacker.v4, victim.v4, p.PROTOCOL.icmp, p.icmp(9, 0, mark)),
  })),
  message('IGMP: a query', ({ attacker }, mark) => ({
    dst: '01:00:5e:00:00:01',
    type: p.TYPE.ip,
    bytes: p.packet(
      attacker.v4,
      '224.0.0.1',
      p.PROTOCOL.igmp,
      p.icmp(0x11, 100, Buffer.concat([Buffer.alloc(4), mark])),
    ),
  })),
  // Multicast router discovery (RFC 4286), and PIM's hello (RFC 7761 §4.9.2).
  multicastRouter('IGMP', '224.0.0.106', p.PROTOCOL.igmp, p.icmp(0x30, 20, Buffer.from([0, 125, 0, 2]))),
  multicastRouter('PIM', '224.0.0.13', p.PROTOCOL.pim, p.icmp(0x20, 0, Buffer.from([0, 1, 0, 2, 0, 105]))),
  message('multicast: the advertisement of a router by ICMPv6 (RFC 4286)', ({ attacker }, mark) => ({
    dst: '33:33:00:00:00:6a',
    type: p.TYPE.ip6,
    bytes: p.packet(
      attacker.linkLocal,
      'ff02::6a',
      p.PROTOCOL.icmp6,
      p.icmp6(attacker.linkLocal, 'ff02::6a', 151, mark, 20),
    ),
  })),
  message('multicast: the hello of a router by PIM over IPv6', ({ attacker }, mark) => ({
    dst: '33:33:00:00:00:0d',
    type: p.TYPE.ip6,
    bytes: p.packet(attacker.linkLocal, 'ff02::d', p.PROTOCOL.pim, p.icmp(0x20, 0, mark)),
  })),
  message('DHCP: a server’s answer', ({ attacker }, mark) => ({
    dst: p.BROADCAST,
    type: p.TYPE.ip,
    bytes: p.packet(
      attacker.v4,
      '255.255.255.255',
      p.PROTOCOL.udp,
      p.udp(attacker.v4, '255.255.255.255', [67, 68], mark),
    ),
  })),
  message('DHCPv6: a server’s answer', ({ attacker, victim }, mark) => ({
    dst: victim.mac,
    type: p.TYPE.ip6,
    bytes: p.packet(
      attacker.linkLocal,
      victim.linkLocal,
      p.PROTOCOL.udp,
      p.udp(attacker.linkLocal, victim.linkLocal, [547, 546], mark),
    ),
  })),

  ...(['', ' behind an extension header', ' in fragments'] as const).map((way) =>
    message(`ND: a router advertisement${way}`, ({ attacker }, mark) => {
      const src = attacker.linkLocal;
      const whole = p.routerAdvertisement(src, ALL_NODES, '2001:db8:bad::', mark);
      const pieces =
        way === ''
          ? [p.packet(src, ALL_NODES, p.PROTOCOL.icmp6, whole)]
          : way === ' in fragments'
            ? p.fragments(src, ALL_NODES, p.PROTOCOL.options, p.extension(p.PROTOCOL.icmp6, whole), 40)
            : [p.packet(src, ALL_NODES, p.PROTOCOL.options, p.extension(p.PROTOCOL.icmp6, whole))];
      return { dst: ALL_NODES_MAC, type: p.TYPE.ip6, bytes: pieces };
    }),
  ),
  message('ND: a redirect', ({ attacker, victim }, mark) => ({
    dst: victim.mac,
    type: p.TYPE.ip6,
    bytes: p.packet(
      attacker.linkLocal,
      victim.linkLocal,
      p.PROTOCOL.icmp6,
      p.icmp6(attacker.linkLocal, victim.linkLocal, 137, Buffer.concat([Buffer.alloc(4), mark, mark])),
    ),
  })),
  message('MLD: a query', ({ attacker }, mark) => ({
    dst: ALL_NODES_MAC,
    type: p.TYPE.ip6,
    bytes: p.packet(
      attacker.linkLocal,
      ALL_NODES,
      p.PROTOCOL.icmp6,
      p.icmp6(attacker.linkLocal, ALL_NODES, 130, Buffer.concat([Buffer.alloc(4), mark])),
    ),
  })),
  ...(
    [
      ['an advertisement of the gateway', ({ gateway }) => gateway.v6, ({ attacker }) => attacker.mac],
      ['an advertisement of a neighbour, without a MAC', ({ remote }) => remote.v6, () => undefined],
      [
        'an advertisement of itself with another MAC',
        ({ attacker }) => attacker.v6,
        () => '02:aa:aa:aa:aa:aa',
      ],
    ] satisfies [string, (scene: Scene) => string, (scene: Scene) => string | undefined][]
  ).map(
    ([name, target, option]): Attack => ({
      name: `ND: ${name}`,
      wirings: BRIDGE,
      attempt: (scene) => {
        const { attacker, victim } = scene;
        const bytes = p.neighbour(attacker.v6, victim.v6, 136, target(scene), option(scene));
        const whole = p.packet(attacker.v6, victim.v6, p.PROTOCOL.icmp6, bytes);
        return { frames: [p.frame(victim.mac, attacker.mac, p.TYPE.ip6, whole)], arrives: bytes };
      },
    }),
  ),
  {
    name: 'ND: a solicitation from its own address with another’s MAC',
    wirings: BRIDGE,
    attempt: ({ attacker, victim }) => {
      const { group, mac } = p.solicitedNode(victim.v6);
      const bytes = p.neighbour(attacker.v6, group, 135, victim.v6, '02:aa:aa:aa:aa:aa');
      const whole = p.packet(attacker.v6, group, p.PROTOCOL.icmp6, bytes);
      return { frames: [p.frame(mac, attacker.mac, p.TYPE.ip6, whole)], arrives: bytes };
    },
  },
  {
    name: 'ND: detecting a neighbour’s address as its own duplicate',
    wirings: BRIDGE,
    attempt: ({ attacker, victim }) => {
      const { group, mac } = p.solicitedNode(victim.v6);
      const bytes = p.neighbour('::', group, 135, victim.v6);
      const whole = p.packet('::', group, p.PROTOCOL.icmp6, bytes);
      return { frames: [p.frame(mac, attacker.mac, p.TYPE.ip6, whole)], arrives: bytes };
    },
  },
  {
    name: 'ND: from a neighbour’s link-local address',
    wirings: BRIDGE,
    attempt: ({ attacker, victim }) => {
      const { mark, bytes } = datagram('fe80::bad', victim.linkLocal);
      return { frames: [p.frame(victim.mac, attacker.mac, p.TYPE.ip6, bytes)], arrives: mark };
    },
  },
  {
    name: 'ND: filling the node’s neighbour table with link-local addresses',
    wirings: BOTH,
    attempt: ({ node, attacker, gateway, wiring }) => {
      const target = wiring === 'bridge' ? gateway.v6 : 'fe80::ecee:eeff:feee:eeee';
      const { group, mac } = p.solicitedNode(target);
      return {
        frames: Array.from({ length: 20 }, (_, i) => {
          const src = `fe80::bad:${i + 1}`;
          const bytes = p.neighbour(src, group, 135, target, attacker.mac);
          return p.frame(mac, attacker.mac, p.TYPE.ip6, p.packet(src, group, p.PROTOCOL.icmp6, bytes));
        }),
        shows: () => node.namespace.ip('-6 neigh show').includes('fe80::bad:'),
      };
    },
  },
  {
    name: 'ND: the node takes a pod for its router',
    wirings: BOTH,
    stoppedBy: 'accept_ra of the device',
    attempt: ({ node, attacker }) => {
      const src = attacker.linkLocal;
      const bytes = p.routerAdvertisement(src, ALL_NODES, '2001:db8:bad::');
      const whole = p.packet(src, ALL_NODES, p.PROTOCOL.icmp6, bytes);
      return {
        frames: [p.frame(ALL_NODES_MAC, attacker.mac, p.TYPE.ip6, whole)],
        shows: () => node.namespace.ip('-6 route show default').includes(src),
      };
    },
  },
];
