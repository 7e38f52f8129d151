import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { LocalApi } from '../../src/agent/api/server.ts';
import type { LocalPod } from '../../src/cluster/node.ts';
import type { WiringName } from '../../src/cluster/wiring.ts';
import type { CniContext } from '../../src/cni/context.ts';
import { decodeResult, type Result } from '../../src/cni/protocol/result.ts';
import { CniService } from '../../src/cni/service.ts';
import { parseIp } from '../../src/ip/address.ts';
import { type Cidr, lengthOf, nthIp, parseCidr, parsePrefixed, prefixed } from '../../src/ip/cidr.ts';
import { macFromSeed } from '../../src/ip/mac.ts';
import { addressReplace, IFA_F_NODAD } from '../../src/linux/address.ts';
import { linkAdd, linkSet } from '../../src/linux/link/change.ts';
import { linkGet } from '../../src/linux/link/link.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../src/linux/netlink/socket.ts';
import { createNetns, deleteNetns, netnsPath, withNetns } from '../../src/linux/netns.ts';
import { routeAdd } from '../../src/linux/route.ts';
import { writeSysctl } from '../../src/linux/sysctl.ts';
import { SILENT } from '../../src/log.ts';

let count = 0;

/** Returns a namespace name unique to this process. */
export function uniqueName(what: string): string {
  return `fn-${what}-${process.pid}-${count++}`;
}

export type HostOptions = {
  readonly subnets?: readonly string[];
  readonly networks?: readonly string[];
  readonly mtu?: number;
  /** Folder and namespace of an earlier host, for an agent that restarts on its node. */
  readonly dir?: string;
  readonly netns?: string;
  readonly context?: Partial<CniContext>;
  /** `routed`: instead of a bridge, an uplink with a default route. */
  readonly wiring?: WiringName;
};

/**
 * A node reduced to CNI: a namespace with a bridge, its own folders, and the CNI service on a unix socket in
 * place of a whole agent.
 */
export class Host implements AsyncDisposable {
  readonly netns: string;
  readonly dir: string;
  readonly subnets: readonly Cidr[];
  readonly pods = new Map<string, LocalPod>();
  readonly warnings: string[] = [];
  notReady: string | undefined;
  readonly context: CniContext;
  readonly service: CniService;
  #api: LocalApi | undefined;

  constructor(options: HostOptions = {}) {
    this.dir = options.dir ?? mkdtempSync(join(tmpdir(), 'flatnet-cni-'));
    this.subnets = (options.subnets ?? ['10.90.1.0/24', 'fd00:90:1::/64']).map(parseCidr);
    const mtu = options.mtu ?? 1450;
    if (options.netns) this.netns = options.netns;
    else {
      this.netns = uniqueName('host');
      createNetns(this.netns);
      if (options.wiring === 'routed') makeUplink(this.path);
      else makeBridge(this.path, this.subnets, mtu);
    }
    this.context = {
      notReady: () => this.notReady,
      refusesSource: () => 'is not allowed here',
      subnets: this.subnets,
      networks: (options.networks ?? ['10.90.0.0/16', 'fd00:90::/32']).map(parseCidr),
      mtu,
      bridge: 'cni0',
      ...(options.wiring && { wiring: options.wiring }),
      masquerade: true,
      dataDir: this.dataDir,
      stateDir: this.stateDir,
      netns: this.path,
      attached: (pod) => {
        this.pods.set(`${pod.containerId} ${pod.ifName}`, pod);
      },
      detached: (pod) => this.pods.delete(`${pod.containerId} ${pod.ifName}`),
      warn: (text, error) => this.warnings.push(`${text}: ${error}`),
      ...options.context,
    };
    this.service = new CniService(this.context);
  }

  get path(): string {
    return netnsPath(this.netns);
  }

  get dataDir(): string {
    return join(this.dir, 'networks');
  }

  get stateDir(): string {
    return join(this.dir, 'state');
  }

  get socketPath(): string {
    return join(this.dir, 'agent.sock');
  }

  /** Serves the socket. */
  async listen(): Promise<this> {
    const handlers = { cni: (request: object) => this.service.handle(request) };
    this.#api = await LocalApi.listen(this.socketPath, handlers, SILENT);
    return this;
  }

  /** Stops the agent; the node and its folders stay. */
  async stop(): Promise<void> {
    await this.#api?.[Symbol.asyncDispose]();
    this.#api = undefined;
    await this.service[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    deleteNetns(this.netns);
    rmSync(this.dir, { recursive: true, force: true });
  }
}

function makeBridge(netns: string, subnets: readonly Cidr[], mtu: number): void {
  using socket = NetlinkSocket.open(NETLINK_ROUTE, { netns });
  socket.executeSync(
    linkAdd({ name: 'cni0', mtu, mac: macFromSeed(netns), up: true, data: { kind: 'bridge' } }),
  );
  const { index } = socket.getSync(linkGet('cni0'));
  socket.executeSync(
    subnets.map((subnet) =>
      addressReplace({
        dev: index,
        address: prefixed(nthIp(subnet, 1), lengthOf(subnet)),
        flags: subnet.includes(':') ? IFA_F_NODAD : 0,
      }),
    ),
  );
  withNetns(netns, () => writeSysctl('net/ipv4/ip_forward', 1));
}

/** Does the part of the agent's work for routed pods that pings need. */
function makeUplink(netns: string): void {
  using socket = NetlinkSocket.open(NETLINK_ROUTE, { netns });
  socket.executeSync(linkAdd({ name: 'up0', up: true, data: { kind: 'veth', peer: { name: 'up1' } } }));
  const { index } = socket.getSync(linkGet('up0'));
  socket.executeSync([
    ...linkSet(socket.getSync(linkGet('up1')).index, { up: true }),
    addressReplace({ dev: index, address: parsePrefixed('192.0.2.1/24') }),
    routeAdd({ dst: parseCidr('0.0.0.0/0'), dev: index, via: parseIp('192.0.2.254') }),
  ]);
  withNetns(netns, () => {
    writeSysctl('net/ipv4/ip_forward', 1);
    writeSysctl('net/ipv6/conf/all/forwarding', 1);
  });
}

/** A pod's network namespace. */
export class Pod implements Disposable {
  readonly name = uniqueName('pod');
  readonly path: string;

  constructor() {
    this.path = createNetns(this.name);
  }

  [Symbol.dispose](): void {
    deleteNetns(this.name);
  }
}

export type Answer = { readonly exit: number; readonly out: Record<string, unknown> | undefined };

export type CallOptions = {
  readonly pod?: Pod | undefined;
  readonly id?: string;
  readonly ifName?: string;
  /** Keys added to the configuration or replacing its own: `{ type: 'bridge', … }`. */
  readonly conf?: object;
  readonly env?: Readonly<Record<string, string>>;
};

export const CONF = { cniVersion: '1.1.0', name: 'cbr0', type: 'flatnet' };

/** Makes one call, bypassing the shim. */
export async function call(host: Host, command: string, options: CallOptions = {}): Promise<Answer> {
  const { env, stdin } = request(command, options);
  const { stdout, exit } = await host.service.handle({ env, stdin });
  return { exit, out: stdout === '' ? undefined : JSON.parse(stdout) };
}

export function request(
  command: string,
  options: CallOptions,
): { env: Record<string, string>; stdin: string } {
  const { pod, id = 'pod-0', ifName = 'eth0', conf, env } = options;
  return {
    env: {
      CNI_COMMAND: command,
      CNI_CONTAINERID: id,
      CNI_IFNAME: ifName,
      CNI_NETNS: pod?.path ?? '',
      CNI_PATH: '/usr/lib/cni',
      ...env,
    },
    stdin: JSON.stringify({ ...CONF, ...conf }),
  };
}

/** Makes a call that must succeed. */
export async function must(host: Host, command: string, options: CallOptions = {}): Promise<Result> {
  const { exit, out } = await call(host, command, options);
  assert.equal(exit, 0, `${command}: ${JSON.stringify(out)}`);
  return decodeResult(out ?? {});
}

/** The fields the tests read in iproute2's output for a link, an address or a route: the oracle. */
export type IpEntry = {
  readonly ifindex: number;
  readonly ifname: string;
  readonly address: string;
  readonly mtu: number;
  readonly operstate: string;
  readonly flags: readonly string[];
  readonly master?: string;
  readonly ifalias?: string;
  readonly linkinfo?: {
    readonly info_kind?: string;
    readonly info_slave_data?: { readonly hairpin?: boolean };
  };
  readonly addr_info: readonly {
    readonly local: string;
    readonly prefixlen: number;
    readonly scope: string;
    readonly broadcast?: string;
    readonly nodad?: boolean;
    readonly tentative?: boolean;
  }[];
  readonly dst: string;
  readonly gateway?: string;
  readonly dev?: string;
  readonly protocol?: string;
  readonly scope?: string;
  readonly prefsrc?: string;
  readonly metric?: number;
};

/** Returns the output of `ip -j` in a namespace. */
export function ip(netns: string, ...args: string[]): IpEntry[] {
  const text = execFileSync('ip', ['-j', '-d', '-n', netns, ...args], { encoding: 'utf8' });
  return text.trim() === '' ? [] : JSON.parse(text);
}

/** Returns the only entry of that output. */
export function ipOne(netns: string, ...args: string[]): IpEntry {
  const [entry, ...more] = ip(netns, ...args);
  assert.ok(entry && more.length === 0, `one entry of ip ${args.join(' ')}`);
  return entry;
}

/** Whether an echo request from the namespace is answered within `within` seconds. */
export function pings(netns: string, address: string, within = 5): boolean {
  const { status } = spawnSync('ip', [
    'netns',
    'exec',
    netns,
    'ping',
    '-n',
    '-c1',
    '-W',
    `${within}`,
    address,
  ]);
  return status === 0;
}

export async function eventually(
  what: string,
  holds: () => boolean | Promise<boolean>,
  within = 2000,
): Promise<void> {
  for (const end = performance.now() + within; !(await holds()); await sleep(5)) {
    if (performance.now() > end) assert.fail(`${what}: not within ${within} ms`);
  }
}

/**
 * Everything pods can leave on a host: links other than the node’s own, reservations, records, recorded DELs.
 */
export function leftovers(host: Host): string[] {
  const links = ip(host.netns, 'link').map((link) => link.ifname);
  const files = ['networks', 'state'].flatMap((dir) =>
    list(join(host.dir, dir)).flatMap((entry) => (entry.isFile() ? [entry.name] : [])),
  );
  return [
    ...links.filter((name) => !['lo', 'cni0', 'up0', 'up1'].includes(name)),
    ...files.filter((name) => !/^(last_reserved_ip|lock$|spare\.|\.spare-)/.test(name)),
  ];
}

function list(dir: string) {
  return existsSync(dir) ? readdirSync(dir, { recursive: true, withFileTypes: true }) : [];
}
