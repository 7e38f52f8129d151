import { execFileSync } from 'node:child_process';
import type { LocalPod } from '../../src/cluster/node.ts';
import { guardItems, podGuardItems } from '../../src/guard/guard.ts';
import type { Ip } from '../../src/ip/address.ts';
import { netnsPath } from '../../src/linux/netns.ts';
import type { Item } from '../../src/state/item.ts';
import { attach, macOf, NODE, OUTSIDE, OUTSIDE6, PODS, PODS6 } from './routed-node.ts';

let count = 0;

/** A node with six pods on its bridge `cni0`, and the rest of the world on a wire. */
export class BridgedNode implements Disposable {
  readonly name = `fn-bridged-${process.pid}-${count++}`;

  constructor() {
    this.#ip(`netns add ${this.name}`);
    this.#ip(`-n ${this.name} link add cni0 type bridge mcast_snooping 0`);
    this.#ip(`-n ${this.name} link set cni0 up`);
    for (const ip of [`${NODE}/32`, '10.0.0.254/24', 'fd00::fe/64 nodad'])
      this.#ip(`-n ${this.name} address add ${ip} dev cni0`);
    for (const [i, ip] of PODS.entries()) {
      const netns = this.nameAt(ip);
      this.#ip(`netns add ${netns}`);
      this.#ip(`-n ${this.name} link add fltp${i} type veth peer name eth0 netns ${netns}`);
      this.#ip(`-n ${this.name} link set fltp${i} master cni0 up`);
      this.#ip(`-n ${netns} link set eth0 address ${macOf(ip)} up`);
      this.#ip(`-n ${netns} address add ${ip}/24 dev eth0`);
      this.#ip(`-n ${netns} address add ${PODS6[i]}/64 dev eth0 nodad`);
      this.#ip(`-n ${netns} route add default via 10.0.0.254`);
      this.#ip(`-n ${netns} route add default via fd00::fe`);
    }
    attach(this.name, 'out', [...OUTSIDE, ...OUTSIDE6]);
    const bridged = ['iptables', 'ip6tables'].map((each) => `net.bridge.bridge-nf-call-${each}=1`);
    const forwarding = ['net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1'];
    execFileSync('ip', ['netns', 'exec', this.name, 'sysctl', '-qw', ...forwarding, ...bridged]);
  }

  /** The namespace that has an address. */
  at(ip: Ip): string {
    return netnsPath(this.nameAt(ip));
  }

  nameAt(ip: Ip): string {
    if (ip === NODE) return this.name;
    const pod = Math.max(PODS.indexOf(ip), PODS6.indexOf(ip));
    return `${this.name}-${pod < 0 ? 'out' : `p${pod}`}`;
  }

  /** Runs a program in the namespace that has an address. */
  run(at: Ip, ...command: string[]): void {
    execFileSync('ip', ['netns', 'exec', this.nameAt(at), ...command], { stdio: 'pipe' });
  }

  #ip(command: string): void {
    execFileSync('ip', command.split(' '), { stdio: 'pipe' });
  }

  [Symbol.dispose](): void {
    for (const ip of [...PODS, ...OUTSIDE.slice(0, 1), NODE]) this.#ip(`netns del ${this.nameAt(ip)}`);
  }
}

/** What guards the pods of a network with policies. */
export function guardOfPods(): readonly Item[] {
  const policy = { onChange: 'cut', offload: true, logDenied: false, logGroup: 7 } as const;
  const facts = { network: { wiring: 'bridge', policy }, families: [4, 6], decapsulates: {} } as const;
  const pods = PODS.map(
    (ip, i): LocalPod => ({
      containerId: `p${i}`,
      labels: {},
      ifName: 'eth0',
      hostDevice: `fltp${i}`,
      netns: '/n',
      mac: macOf(ip),
      addresses: [ip, ...PODS6.slice(i, i + 1)],
    }),
  );
  const { routed, optional } = guardItems(pods, facts);
  return [...routed, ...optional, ...pods.flatMap((pod) => podGuardItems(pod, facts))];
}
