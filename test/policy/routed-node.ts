import { execFileSync } from 'node:child_process';
import { type Ip, parseIp } from '../../src/ip/address.ts';
import { type Mac, parseMac } from '../../src/ip/mac.ts';
import { netnsPath } from '../../src/linux/netns.ts';

export const PODS = ['10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.4', '10.0.0.5', '10.0.0.6'].map(parseIp);
export const PODS6 = ['fd00::1', 'fd00::2', 'fd00::3', 'fd00::4', 'fd00::5', 'fd00::6'].map(parseIp);
/** The node's own. */
export const NODE = parseIp('192.0.2.9');
export const OUTSIDE = ['192.0.2.1', '192.0.2.200', '198.51.100.1'].map(parseIp);
export const OUTSIDE6 = ['2001:db8::1', '2001:db8::2', '2001:db8::3'].map(parseIp);

/** Of the pod with an IPv4 address. */
export function macOf(pod: Ip): Mac {
  return parseMac(`02:00:00:00:01:0${PODS.indexOf(pod)}`);
}

let count = 0;

/** A node with six routed pods, and the rest of the world on one wire. */
export class RoutedNode implements Disposable {
  readonly name = `fn-policy-${process.pid}-${count++}`;

  constructor() {
    ip(`netns add ${this.name}`);
    for (const [i, pod] of PODS.entries())
      attach(this.name, `p${i}`, [pod, ...PODS6.slice(i, i + 1)], ` address ${macOf(pod)}`);
    attach(this.name, 'out', [...OUTSIDE, ...OUTSIDE6]);
    ip(`-n ${this.name} address add ${NODE}/32 dev up0`);
    this.run('sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1');
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

  run(...command: string[]): void {
    execFileSync('ip', ['netns', 'exec', this.name, ...command], { stdio: 'pipe' });
  }

  [Symbol.dispose](): void {
    const all = ['', ...PODS.map((_, i) => `-p${i}`), '-out'].map((suffix) => this.name + suffix);
    for (const name of all) ip(`netns del ${name}`);
  }
}

/** Links a node by a veth to a namespace of its own, `out` or a pod's, and routes these addresses there. */
export function attach(node: string, what: string, addresses: readonly Ip[], settings = ''): void {
  const [netns, device] = [`${node}-${what}`, what === 'out' ? 'up0' : `flt${what}`];
  ip(`netns add ${netns}`);
  ip(`-n ${node} link add ${device} type veth peer name eth0 netns ${netns}`);
  const mac = '02:00:00:00:00:01';
  ip(`-n ${node} link set ${device} address ${mac} up`);
  ip(`-n ${node} address add fe80::1/64 dev ${device} nodad`);
  ip(`-n ${netns} link set eth0${settings} up`);
  for (const address of addresses) {
    const [length, nodad] = address.includes(':') ? ['128', ' nodad'] : ['32', ''];
    ip(`-n ${netns} address add ${address}/${length} dev eth0${nodad}`);
    ip(`-n ${node} route add ${address}/${length} dev ${device}`);
  }
  ip(`-n ${netns} neigh add fe80::1 lladdr ${mac} dev eth0`);
  ip(`-n ${netns} route add default via fe80::1 dev eth0`);
  ip(`-n ${netns} route add 169.254.1.1 dev eth0`);
  ip(`-n ${netns} neigh add 169.254.1.1 lladdr ${mac} dev eth0`);
  ip(`-n ${netns} route add default via 169.254.1.1 dev eth0`);
}

function ip(command: string): void {
  execFileSync('ip', command.split(' '), { stdio: 'pipe' });
}
