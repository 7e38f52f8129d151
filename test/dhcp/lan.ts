import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PhysicalNetwork } from '../../src/cni/context.ts';
import { Leases } from '../../src/dhcp/leases.ts';
import { parseIp } from '../../src/ip/address.ts';
import { parseCidr } from '../../src/ip/cidr.ts';
import { parseMac } from '../../src/ip/mac.ts';
import { linkGet } from '../../src/linux/link/link.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../src/linux/netlink/socket.ts';
import { createNetns, deleteNetns, netnsPath } from '../../src/linux/netns.ts';
import { SILENT } from '../../src/log.ts';
import { Host, ip, uniqueName } from '../cni/host.ts';
import { Dnsmasq } from './dnsmasq.ts';

export const NETWORK = '192.168.77.0/24';
export const NODE = '192.168.77.10';
export const SERVER = '192.168.77.1';

/** Runs `ip -n NETNS …` without looking at what it prints. */
export function run(netns: string, command: string): void {
  ip(netns, ...command.split(' '));
}

/** A node reduced to CNI and a machine beside it, on one physical network. */
export class Lan implements AsyncDisposable {
  readonly node = uniqueName('node');
  readonly server = uniqueName('server');
  readonly dir = mkdtempSync(join(tmpdir(), 'flatnet-lan-'));
  readonly warnings: string[] = [];
  /** Whose an address is that no pod may get. */
  ownerOf = (ip: string): string | undefined => (ip === NODE ? 'an address of this node' : undefined);
  readonly #daemon = new Dnsmasq(this.server, this.dir);
  #host: Host | undefined;
  #leases: Leases | undefined;

  constructor() {
    for (const name of [this.node, this.server]) {
      createNetns(name);
      run(name, 'link set lo up');
    }
    run(this.node, `link add eth0 type veth peer name eth0 netns ${this.server}`);
    for (const [netns, address] of [
      [this.node, NODE],
      [this.server, SERVER],
    ] as const) {
      run(netns, 'link set eth0 up');
      run(netns, `address add ${address}/24 dev eth0`);
    }
  }

  /** Starts the node's CNI, or restarts it as another agent would. */
  async host(overrides: Partial<PhysicalNetwork> = {}, subnets: readonly string[] = []): Promise<Host> {
    await this.stop();
    const netns = netnsPath(this.node);
    const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    const leases = new Leases({
      dir: join(this.dir, 'leases'),
      netns,
      bootId,
      rules: () => ({
        network: parseCidr(NETWORK),
        ownerOf: (each) => this.ownerOf(each),
      }),
      podOf: () => undefined,
      patience: 0.1,
      log: { ...SILENT, warn: (fields, text) => this.warnings.push(`${text}: ${JSON.stringify(fields)}`) },
    });
    const host = new Host({
      dir: this.dir,
      netns: this.node,
      subnets,
      networks: [NETWORK],
      mtu: 1500,
      wiring: overrides.config?.wiring ?? 'macvlan',
      context: { leases, physical: physicalNetwork(netns, overrides), masquerade: false },
    });
    this.#leases = leases;
    this.#host = host;
    return host;
  }

  get leases(): Leases {
    if (!this.#leases) throw new Error('no host');
    return this.#leases;
  }

  async stop(): Promise<void> {
    this.#leases?.[Symbol.dispose]();
    await this.#host?.stop();
    this.#leases = undefined;
    this.#host = undefined;
  }

  get log(): string {
    return this.#daemon.log;
  }

  /** Messages of a type that the server has seen or sent. */
  count(type: string): number {
    return this.#daemon.count(type);
  }

  /** Starts dnsmasq with the addresses from .100 to .120, or with the ranges among `options`. */
  async serve(...options: string[]): Promise<void> {
    const hasRange = options.some((option) => option.startsWith('--dhcp-range='));
    await this.#daemon.start(
      ...(hasRange ? [] : ['--dhcp-range=192.168.77.100,192.168.77.120,255.255.255.0,120']),
      `--dhcp-option=option:router,${SERVER}`,
      `--dhcp-option=option:dns-server,${SERVER}`,
      '--dhcp-option=option:domain-name,lan.example',
      ...options,
    );
  }

  /** Makes the server forget its leases. */
  forget(): void {
    this.#daemon.forget();
  }

  async stopServer(): Promise<void> {
    await this.#daemon.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await this.stopServer();
    for (const name of [this.node, this.server]) deleteNetns(name);
    rmSync(this.dir, { recursive: true, force: true });
  }
}

function physicalNetwork(netns: string, overrides: Partial<PhysicalNetwork>): PhysicalNetwork {
  return {
    config: { wiring: 'macvlan', mode: 'bridge', gateways: {} },
    hasDhcp: true,
    networks: { 4: parseCidr(NETWORK) },
    node: { 4: parseIp(NODE) },
    parent: () => {
      using socket = NetlinkSocket.open(NETLINK_ROUTE, { netns });
      const { mac = parseMac('02:00:00:00:00:01'), mtu } = socket.getSync(linkGet('eth0'));
      return { dev: 'eth0', mtu, mac };
    },
    ...overrides,
  };
}
