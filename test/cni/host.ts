import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LocalApi } from '../../src/agent/api.ts';
import type { LocalPod } from '../../src/cluster/node.ts';
import type { CniContext } from '../../src/cni/context.ts';
import { CniService } from '../../src/cni/service.ts';
import { type Cidr, lengthOf, nthIp, parseCidr, prefixed } from '../../src/ip/cidr.ts';
import { macFromSeed } from '../../src/ip/mac.ts';
import { addressReplace, IFA_F_NODAD } from '../../src/linux/address.ts';
import { linkAdd, linkGet } from '../../src/linux/link.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../src/linux/netlink/socket.ts';
import { createNetns, deleteNetns, netnsPath, withNetns } from '../../src/linux/netns.ts';
import { writeSysctl } from '../../src/linux/sysctl.ts';

let count = 0;

/** A namespace name of this process's own. */
export function uniqueName(what: string): string {
  return `fn-${what}-${process.pid}-${count++}`;
}

export type HostOptions = {
  readonly subnets?: readonly string[];
  readonly networks?: readonly string[];
  readonly mtu?: number;
  /** An earlier host's folder and namespace: as an agent that starts again on its node. */
  readonly dir?: string;
  readonly netns?: string;
  readonly context?: Partial<CniContext>;
};

/**
 * A node for CNI alone: a namespace with a bridge, folders of its own, and a service behind a unix socket, where the real agent's
 * would be.
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
      makeBridge(this.path, this.subnets, mtu);
    }
    this.context = {
      notReady: () => this.notReady,
      subnets: this.subnets,
      networks: (options.networks ?? ['10.90.0.0/16', 'fd00:90::/48']).map(parseCidr),
      mtu,
      bridge: 'cni0',
      masquerade: true,
      dataDir: this.dataDir,
      stateDir: this.stateDir,
      netns: this.path,
      attached: (pod) => this.pods.set(`${pod.containerId} ${pod.ifName}`, pod),
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
    this.#api = await LocalApi.listen(this.socketPath, {
      cni: (request) => this.service.handle(request as Parameters<CniService['handle']>[0]),
    });
    return this;
  }

  /** The agent ends; node and folders stay. */
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

/** A namespace for a pod. */
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

export function makeDir(path: string): string {
  mkdirSync(path, { recursive: true });
  return path;
}
