import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { nthIp } from '../../src/ip/cidr.ts';
import { linkLocalOf, parseMac } from '../../src/ip/mac.ts';
import { factsOf, type Plan } from '../backends/cluster.ts';
import { type Pair, type RoutedNode, RoutedPod, twoNodes } from '../wiring/routed-node.ts';
import { type Attack, type End, HOST_PORT, type Host, type Scene, SERVICE } from './attacks.ts';
import { arp, BROADCAST, frame, TYPE } from './packets.ts';
import { Wire } from './wire.ts';

const PLAN: Plan = { size: 2, families: [4, 6], backend: { Type: 'vxlan' }, networks: 1 };

/** Time within which what a frame does shows, in milliseconds. */
const WITHIN = process.env.FLATNET_EMULATED ? { effect: 15_000, none: 300 } : { effect: 2000, none: 80 };

/** Two nodes, with two pods on one and one on the other, and raw sockets where attackers and victims are. */
export class Stage implements AsyncDisposable {
  readonly scene: Scene;
  readonly #pair: Pair;
  readonly #pods: readonly RoutedPod[];
  readonly #wires: { readonly [W in 'attacker' | 'victim' | 'remote' | 'outside']: Wire };

  private constructor(pair: Pair, pods: readonly RoutedPod[], scene: Scene) {
    this.#pair = pair;
    this.#pods = pods;
    this.scene = scene;
    const at = ({ pod }: Host) => new Wire(pod.netns, 'eth0');
    this.#wires = {
      attacker: at(scene.attacker),
      victim: at(scene.victim),
      remote: at(scene.remote),
      outside: new Wire(scene.other.namespace.path, 'eth0'),
    };
  }

  static async set(wiring: Scene['wiring'], guard: boolean): Promise<Stage> {
    const plan = { ...PLAN, backend: { ...PLAN.backend, membersOnly: guard } };
    const pair = await twoNodes(plan, { wiring, guard });
    const [node, other] = pair.nodes;
    const pods = ['attacker', 'victim', 'remote'].map((name) => new RoutedPod(`${name}-${wiring}-${guard}`));
    const [attacker, victim, remote] = pods;
    assert.ok(attacker && victim && remote);
    await node.add(attacker);
    await node.add(victim);
    await other.add(remote);
    for (const [index, each] of pair.nodes.entries()) {
      const { addresses } = factsOf(plan, 1 - index).self.underlay;
      each.namespace.ip(`route add default via ${addresses[4]} dev eth0`);
      each.namespace.ip(`-6 route add default via ${addresses[6]} dev eth0 metric 4096`);
      await each.running.settled();
      // The guard must do without it: IPv6 lacks it, and hosts differ.
      each.running[Symbol.dispose]();
      for (const dev of ['all', ...(wiring === 'routed' && index === 0 ? [attacker.device] : [])]) {
        each.namespace.run('sysctl', '-qw', `net/ipv4/conf/${dev}/rp_filter=0`);
      }
    }
    const [v4, v6] = factsOf(plan, 0).self.node.subnets.map((subnet) => nthIp(subnet, 1));
    const scene: Scene = {
      wiring,
      node,
      other,
      attacker: hostOf(attacker),
      victim: hostOf(victim),
      remote: hostOf(remote),
      gateway: {
        mac: wiring === 'bridge' ? macOf(node, 'cni0') : 'ee:ee:ee:ee:ee:ee',
        v4: wiring === 'bridge' ? `${v4}` : '169.254.1.1',
        v6: wiring === 'bridge' ? `${v6}` : 'fe80::ecee:eeff:feee:eeee',
      },
      underlay: [endOf(plan, 0, node), endOf(plan, 1, other)],
    };
    publish(scene);
    return new Stage(pair, pods, scene);
  }

  setBrNetfilter(on: boolean): void {
    for (const name of ['iptables', 'ip6tables', 'arptables']) {
      this.scene.node.namespace.run('sysctl', '-qw', `net/bridge/bridge-nf-call-${name}=${Number(on)}`);
    }
  }

  /** Whether the attack has an effect; waits longer for one that is expected. */
  async succeeds({ attempt, from }: Attack, expected: boolean): Promise<boolean> {
    const { victim } = this.scene;
    // The bridge finds the victim again, wherever the last attack led it.
    this.#wires.victim.send(arpFrame(victim));
    await sleep(5);
    for (const wire of Object.values(this.#wires)) wire.received();
    const { accomplice = [], frames, arrives, at = 'victim', shows } = attempt(this.scene);
    for (const bytes of accomplice) this.#wires.outside.send(bytes);
    if (accomplice.length > 0) await sleep(20);
    const wire = from === 'outside' ? this.#wires.outside : this.#wires.attacker;
    for (const bytes of frames) wire.send(bytes);
    const end = performance.now() + (expected ? WITHIN.effect : WITHIN.none);
    do {
      await sleep(10);
      if (shows?.()) return true;
      // The victim may have undone it before the look, as its own frames take its MAC back.
      if (shows && expected) for (const bytes of frames) wire.send(bytes);
      if (arrives && this.#wires[at].received().some((bytes) => bytes.includes(arrives))) return true;
    } while (performance.now() < end);
    return false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const wire of Object.values(this.#wires)) wire[Symbol.dispose]();
    await this.#pair[Symbol.asyncDispose]();
    for (const pod of this.#pods) pod[Symbol.dispose]();
  }
}

/** What Kubernetes does for host ports and services: the attacker is behind one, the other node another. */
function publish({ node, attacker, underlay: [own, peer] }: Scene): void {
  const nft = (command: string) => node.namespace.run('nft', command);
  for (const family of [4, 6] as const) {
    const ip = family === 4 ? 'ip' : 'ip6';
    const [from, to, pod] = [own, peer, attacker].map((each) => (family === 4 ? each.v4 : each.v6));
    const at = (address: string | undefined, port: number) =>
      family === 4 ? `${address}:${port}` : `[${address}]:${port}`;
    nft(`add table ${ip} services`);
    nft(`add chain ${ip} services pre { type nat hook prerouting priority dstnat; }`);
    nft(
      `add rule ${ip} services pre ${ip} daddr ${from} udp dport ${HOST_PORT} dnat to ${at(pod, HOST_PORT)}`,
    );
    nft(
      `add rule ${ip} services pre ${ip} daddr ${SERVICE[family]} udp dport ${HOST_PORT} dnat to ${at(to, 8472)}`,
    );
  }
}

/** Gratuitous ARP. */
function arpFrame({ mac, v4 }: Host): Buffer {
  return frame(BROADCAST, mac, TYPE.arp, arp(1, [mac, v4], [mac, v4]));
}

function hostOf(pod: RoutedPod): Host {
  const [v4 = '', v6 = ''] = pod.addresses;
  return { pod, mac: pod.mac, v4, v6, linkLocal: linkLocalOf(parseMac(pod.mac)) };
}

function endOf(plan: Plan, index: number, node: RoutedNode): End {
  const { addresses } = factsOf(plan, index).self.underlay;
  return {
    v4: `${addresses[4]}`,
    v6: `${addresses[6]}`,
    mac: macOf(node, 'eth0'),
    vteps: { 4: macOf(node, 'flannel.1'), 6: macOf(node, 'flannel-v6.1') },
  };
}

function macOf(node: RoutedNode, dev: string): string {
  return /link\/ether (\S+)/.exec(node.namespace.ip(`link show ${dev}`))?.[1] ?? '';
}
