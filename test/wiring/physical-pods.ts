import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chooseParent } from '../../src/cluster/parent.ts';
import type { Physical } from '../../src/cluster/physical.ts';
import type { Result } from '../../src/cni/protocol/result.ts';
import { type Ip, parseIp } from '../../src/ip/address.ts';
import { parseCidr } from '../../src/ip/cidr.ts';
import { parseMac } from '../../src/ip/mac.ts';
import { IcmpSocket, waitForMessages } from '../../src/linux/icmp.ts';
import { netnsPath } from '../../src/linux/netns.ts';
import { podItems, wiringItems } from '../../src/wiring/registry.ts';
import type { WiringFacts } from '../../src/wiring/wiring.ts';
import { eventually, type Host, ip, must, Pod, pings } from '../cni/host.ts';
import { Lan, NODE, run, SERVER } from '../dhcp/lan.ts';
import { Running } from '../state/namespace.ts';

const NODE6 = 'fd77:7::10';
const SERVER6 = 'fd77:7::1';
const SUBNETS = ['192.168.77.64/26', 'fd77:7:0:0:1::/80'] as const;
/** An emulated machine is slow. */
const PATIENCE = process.env.FLATNET_EMULATED ? 10 : 2;

/** Two pods by CNI on a node without its agent, and a machine beside it. */
type Scene = {
  readonly lan: Lan;
  readonly host: Host;
  readonly pods: readonly [PodOnLan, PodOnLan];
};
type PodOnLan = {
  readonly pod: Pod;
  readonly id: string;
  readonly result: Result;
  readonly own: readonly string[];
};

/** Sets the scene, in both families; what the node needs comes from the pure wiring by a reconciler. */
async function onLan(
  shared: Pick<Physical, 'wiring' | 'mode'>,
  look: (scene: Scene) => Promise<void>,
): Promise<void> {
  await using lan = new Lan();
  run(lan.node, `address add ${NODE6}/64 dev eth0 nodad`);
  run(lan.server, `address add ${SERVER6}/64 dev eth0 nodad`);
  const isRouted = shared.mode.startsWith('l3');
  // As somebody must, where nodes route.
  if (isRouted) {
    run(lan.server, `route add ${SUBNETS[0]} via ${NODE}`);
    run(lan.server, `-6 route add ${SUBNETS[1]} via ${NODE6}`);
  }
  const config: Physical = {
    ...shared,
    gateways: isRouted ? {} : { 4: parseIp(SERVER), 6: parseIp(SERVER6) },
  };
  const [{ mtu, address } = assert.fail()] = ip(lan.node, 'link', 'show', 'dev', 'eth0');
  const addresses = { 4: parseIp(NODE), 6: parseIp(NODE6) };
  const underlay = { dev: 'eth0', mtu, addresses, onLink: [] };
  const parent = chooseParent(config, underlay, {
    interfaces: [{ name: 'eth0', mtu, mac: parseMac(address) }],
  });
  const networks = { 4: parseCidr('192.168.77.0/24'), 6: parseCidr('fd77:7::/64') };
  const host = await lan.host(
    { config, hasDhcp: false, networks, node: addresses, parent: () => parent },
    SUBNETS,
  );
  using a = new Pod();
  using b = new Pod();
  const add = async (pod: Pod, id: string): Promise<PodOnLan> => {
    const result = await must(host, 'ADD', { pod, id });
    const own = result.ips.map((each) => each.address.replace(/\/.*/, ''));
    assert.equal(own.length, 2);
    return { pod, id, result, own };
  };
  const pods = [await add(a, 'a'), await add(b, 'b')] as const;

  const facts: WiringFacts = {
    self: {
      node: { name: 'n', labels: {}, addresses, subnets: [], backend: { type: 'alloc', data: {} } },
      underlay,
      tunnelMacs: { 4: parseMac('02:00:00:00:00:04'), 6: parseMac('02:00:00:00:00:06') },
    },
    families: [4, 6],
    mtu,
    physical: { config, parent },
  };
  const known = [...host.pods.values()];
  using running = new Running({ path: host.path });
  running.want([
    ...wiringItems(config.wiring, known, facts),
    ...known.flatMap((pod) => podItems(pod, facts)),
  ]);
  await running.settled();
  await look({ lan, host, pods });
}

/** A packet that waits for its neighbour to be found may be lost, if it was not there before. */
async function reach(from: string, to: readonly string[], what: string): Promise<void> {
  for (const each of to)
    await eventually(`${what} reaches ${each}`, () => pings(from, each, PATIENCE / 2), PATIENCE * 1000);
}

function isApart(from: string, to: readonly string[], what: string): void {
  for (const each of to) assert.ok(!pings(from, each, 0.3), `${what} reaches ${each}`);
}

/** Pods reach each other, their node and a machine beside it, and all of these reach pods. */
export function podsReachAll(shared: Pick<Physical, 'wiring' | 'mode'>): Promise<void> {
  return onLan(shared, async ({ lan, host, pods: [a, b] }) => {
    await reach(a.pod.name, [...b.own, NODE, NODE6, SERVER, SERVER6], 'a pod');
    await reach(lan.node, [...a.own, ...b.own], 'the node');
    await reach(lan.server, [...a.own, ...b.own], 'a machine beside it');
    if (shared.wiring === 'macvlan') await passesOwnSourcesOnly(lan, a.pod, parseIp(a.own[0] ?? ''));
    const { pod, id, result } = a;
    await must(host, 'CHECK', { pod, id, conf: { prevResult: result } });
    await must(host, 'DEL', { pod, id });
    // Modules that other tests have loaded make devices of their own in every namespace.
    assert.ok(!ip(pod.name, 'link').some(({ ifname }) => ifname === 'eth0'));
  });
}

/**
 * Pods reach a machine beside their node, and it them, but neither each other nor their node. A switch that
 * sends frames back where they came from changes that with `vepa`; with `private`, pods stay apart from each
 * other.
 */
export function podsAreApart(mode: 'private' | 'vepa'): Promise<void> {
  return onLan({ wiring: 'macvlan', mode }, async ({ lan, pods: [a, b] }) => {
    switchTo(lan);
    await reach(a.pod.name, [SERVER, SERVER6], 'a pod');
    await reach(lan.server, [...a.own, ...b.own], 'a machine beside it');
    isApart(a.pod.name, [...b.own, NODE, NODE6], 'a pod');
    isApart(lan.node, b.own, 'the node');
    run(lan.server, 'link set eth0 type bridge_slave hairpin on');
    if (mode === 'private') return isApart(a.pod.name, b.own, 'a pod');
    await reach(a.pod.name, [...b.own, NODE, NODE6], 'a pod');
    await reach(lan.node, b.own, 'the node');
  });
}

/** Puts a switch between the node and the machine beside it. */
function switchTo({ server }: Lan): void {
  run(server, 'link add br0 up type bridge mcast_snooping 0');
  run(server, 'address flush dev eth0');
  run(server, 'link set eth0 master br0');
  run(server, `address add ${SERVER}/24 dev br0`);
  run(server, `address add ${SERVER6}/64 dev br0 nodad`);
}

/** A pod takes another address and sends to its node, whose own check of sources is loose. */
async function passesOwnSourcesOnly(lan: Lan, pod: Pod, own: Ip): Promise<void> {
  execFileSync('ip', ['netns', 'exec', lan.node, 'sysctl', '-qw', 'net.ipv4.conf.all.rp_filter=2']);
  const taken = parseIp('192.168.77.200');
  run(pod.name, `address add ${taken}/32 dev eth0`);
  using node = IcmpSocket.open({ family: 4, netns: netnsPath(lan.node) });
  for (const source of [taken, own]) {
    using sender = IcmpSocket.open({ family: 4, netns: pod.path, source });
    sender.send(parseIp(NODE));
  }
  assert.equal((await waitForMessages([node], PATIENCE * 1000)).length, 1);
  assert.equal(node.receive()?.from, own);
  assert.equal(node.receive(), undefined);
}
