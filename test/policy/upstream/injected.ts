import { execFileSync } from 'node:child_process';
import { type Family, type Ip, ipToBytes } from '../../../src/ip/address.ts';
import { parseMac } from '../../../src/ip/mac.ts';
import { netnsPath } from '../../../src/linux/netns.ts';
import { ETH_P_IP, PacketSocket } from '../../../src/linux/packet.ts';
import type { Probe } from './tables.ts';

const ETH_P_IPV6 = 0x86dd;
const MAC = '02:00:00:00:00:01';
const PAYLOAD = 20;

let count = 0;

/**
 * A node of which every pod's other end is in one namespace, from where packets are sent in its name. What
 * leaves the node is noted after its hooks; nothing answers, and nothing is tracked, so that each packet is
 * a connection's first.
 */
export class InjectedNode implements Disposable {
  readonly name = `fn-upstream-${process.pid}-${count++}`;
  readonly #world = `${this.name}-w`;
  readonly #family: Family;
  readonly #sockets = new Map<Ip, PacketSocket>();

  /** `isPod`: whose packets come by a pod's device. */
  constructor(family: Family, ends: ReadonlyMap<string, Ip>) {
    this.#family = family;
    const [ip, bits] = family === 4 ? ['ip', 32] : ['ip -6', 128];
    const devices = [...ends].map(([key, address], i) => ({
      address,
      index: i + 2,
      device: key.includes('/') ? `fltp${i}` : `up${i}`,
      peer: `w${i}`,
    }));
    const commands = devices.flatMap(({ address, device, peer, index }) => [
      `ip -n ${this.#world} link add ${peer} index ${index} type veth peer name ${device} netns ${this.name}`,
      `ip -n ${this.#world} link set ${peer} up`,
      `ip -n ${this.name} link set ${device} address ${MAC}`,
      `ip -n ${this.name} link set ${device} up`,
      `${ip} -n ${this.name} route add ${address}/${bits} dev ${device}`,
      `ip -n ${this.name} neigh add ${address} lladdr ${MAC} dev ${device} nud permanent`,
    ]);
    const forwarding = family === 4 ? 'net.ipv4.ip_forward' : 'net.ipv6.conf.all.forwarding';
    sh(`ip netns add ${this.name}
ip netns add ${this.#world}
${commands.join('\n')}
ip netns exec ${this.name} sysctl -qw ${forwarding}=1
ip netns exec ${this.name} nft -f - <<'RULES'
${this.#noting()}
RULES`);
    for (const { address, index } of devices) {
      const protocol = family === 4 ? ETH_P_IP : ETH_P_IPV6;
      this.#sockets.set(address, PacketSocket.open({ netns: netnsPath(this.#world), dev: index, protocol }));
    }
  }

  /** Sends a packet of each connection; which of them leave the node. */
  passing(probes: readonly Probe[]): ReadonlySet<Probe> {
    for (const probe of probes) this.#sockets.get(probe.source)?.send(packet(probe), parseMac(MAC));
    const listed = sh(`ip netns exec ${this.name} nft -nj list set inet noting seen
ip netns exec ${this.name} nft flush set inet noting seen`);
    const [found] = (
      JSON.parse(listed) as { nftables: { set?: { elem?: { concat: unknown[] }[] } }[] }
    ).nftables.flatMap(({ set }) => set ?? []);
    const seen = new Set((found?.elem ?? []).map(({ concat }) => concat.join(' ')));
    return new Set(
      probes.filter(({ source, destination, flow: { protocol, port } }) =>
        seen.has([source, destination, protocol, port].join(' ')),
      ),
    );
  }

  #noting(): string {
    const ip = this.#family === 4 ? 'ip' : 'ip6';
    return `table inet noting {
      set seen { typeof ${ip} saddr . ${ip} daddr . meta l4proto . th dport; size 65535; flags dynamic; }
      chain untracked { type filter hook prerouting priority raw; notrack; }
      chain leaving { type filter hook postrouting priority 300; add @seen { ${ip} saddr . ${ip} daddr . meta l4proto . th dport }; }
    }`;
  }

  [Symbol.dispose](): void {
    for (const socket of this.#sockets.values()) socket[Symbol.dispose]();
    sh(`ip netns del ${this.name}\nip netns del ${this.#world}`);
  }
}

function sh(script: string): string {
  return execFileSync('sh', ['-ec', script], { encoding: 'utf8', stdio: 'pipe' });
}

/** The first packet of a connection, as far as rules look at it. */
function packet({ source, destination, flow }: Probe): Buffer {
  const { family, protocol, port = 0 } = flow;
  const header = family === 4 ? ipv4(source, destination, protocol) : ipv6(source, destination, protocol);
  const payload = Buffer.alloc(PAYLOAD);
  payload.writeUInt16BE(40_000, 0);
  payload.writeUInt16BE(port, 2);
  return Buffer.concat([header, payload]);
}

function ipv4(source: Ip, destination: Ip, protocol: number): Buffer {
  const header = Buffer.alloc(20);
  header[0] = 0x45;
  header.writeUInt16BE(header.length + PAYLOAD, 2);
  header[8] = 64;
  header[9] = protocol;
  header.set(ipToBytes(source), 12);
  header.set(ipToBytes(destination), 16);
  let sum = 0;
  for (let at = 0; at < header.length; at += 2) sum += header.readUInt16BE(at);
  sum = (sum & 0xffff) + (sum >>> 16);
  header.writeUInt16BE(~(sum + (sum >>> 16)) & 0xffff, 10);
  return header;
}

function ipv6(source: Ip, destination: Ip, protocol: number): Buffer {
  const header = Buffer.alloc(40);
  header[0] = 0x60;
  header.writeUInt16BE(PAYLOAD, 4);
  header[6] = protocol;
  header[7] = 64;
  header.set(ipToBytes(source), 8);
  header.set(ipToBytes(destination), 24);
  return header;
}
