import { execFileSync } from 'node:child_process';
import { parseIp } from '../../../src/ip/address.ts';
import { netnsPath } from '../../../src/linux/netns.ts';

let count = 0;

/** Two nodes with a bridged pod each, and VXLAN between them, as flannel makes it. */
export class Overlay implements Disposable {
  readonly #name = `fn-overlay-${process.pid}-${count++}`;
  /** The first node's namespace. */
  readonly path = netnsPath(`${this.#name}-n1`);

  constructor() {
    this.#run(`link add ${this.#device('u1')} type veth peer name ${this.#device('u2')}`);
    for (const [n, other] of [
      [1, 2],
      [2, 1],
    ] as const) {
      const [node, pod] = [`${this.#name}-n${n}`, `${this.#name}-p${n}`];
      for (const name of [node, pod]) this.#run(`netns add ${name}`);
      this.#run(`link set ${this.#device(`u${n}`)} netns ${node} name u0`);
      const commands = [
        'link set lo up',
        `address add 192.168.9.${n}/24 dev u0`,
        'link set u0 up',
        'link add cni0 address 02:00:00:00:00:01 type bridge',
        `address add 10.1.${n}.1/24 dev cni0`,
        'link set cni0 up',
        `link add veth0 type veth peer name eth0 netns ${pod}`,
        'link set veth0 master cni0 up',
        `link add flannel.1 address 02:00:00:00:01:0${n} type vxlan id 1 local 192.168.9.${n} dev u0 dstport 8472 nolearning`,
        `address add 10.1.${n}.0/32 dev flannel.1`,
        'link set flannel.1 up',
        `neigh add 10.1.${other}.0 lladdr 02:00:00:00:01:0${other} dev flannel.1`,
        `route add 10.1.${other}.0/24 via 10.1.${other}.0 dev flannel.1 onlink`,
      ];
      for (const each of commands) this.#run(`-n ${node} ${each}`);
      const fdb = `bridge fdb append 02:00:00:00:01:0${other} dev flannel.1 dst 192.168.9.${other}`;
      this.#run(`netns exec ${node} ${fdb}`);
      this.#run(`netns exec ${node} sysctl -qw net.ipv4.ip_forward=1`);
      const ofPod = ['link set lo up', 'link set eth0 up', `address add 10.1.${n}.2/24 dev eth0`];
      for (const each of [...ofPod, `route add default via 10.1.${n}.1`]) this.#run(`-n ${pod} ${each}`);
    }
  }

  /** A node's pod. */
  pod(n: 1 | 2) {
    return { netns: `${this.#name}-p${n}`, ip: parseIp(`10.1.${n}.2`) };
  }

  #device(what: string): string {
    return `fo${process.pid}${what}`;
  }

  #run(command: string): void {
    execFileSync('ip', command.split(' '), { stdio: 'pipe' });
  }

  [Symbol.dispose](): void {
    for (const each of ['n1', 'n2', 'p1', 'p2']) this.#run(`netns del ${this.#name}-${each}`);
  }
}
