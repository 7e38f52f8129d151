import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { NameWatch } from '../../../src/agent/policy/names.ts';
import type { LocalPod } from '../../../src/cluster/node.ts';
import {
  type Family,
  familyOf,
  type Ip,
  ipFromBigInt,
  ipToBigInt,
  parseIp,
} from '../../../src/ip/address.ts';
import { hostCidr } from '../../../src/ip/cidr.ts';
import { netnsPath } from '../../../src/linux/netns.ts';
import { UdpSocket } from '../../../src/linux/udp.ts';
import { SILENT } from '../../../src/log.ts';
import { collectPolicies } from '../../../src/policy/collect.ts';
import type { PodEntity } from '../../../src/policy/model/entity.ts';
import type { PolicyView } from '../../../src/policy/model/view.ts';
import { type KnownNames, type NodePolicies, PolicyPart } from '../../../src/policy/node/contributions.ts';
import type { BridgedNode } from '../../policy/bridged-node.ts';
import { dnsMessage, type WrittenRecord } from '../../policy/names/dns-message.ts';
import { podOf } from '../../policy/observe/policies.ts';
import { OUTSIDE, OUTSIDE6, PODS, PODS6, RoutedNode } from '../../policy/routed-node.ts';
import { Running } from '../../state/namespace.ts';

/** Who is who, by IPv4 or IPv6. */
type Parties = {
  readonly client: Ip;
  readonly other: Ip;
  /** The cluster's DNS, on this node. */
  readonly dns: Ip;
  readonly resolver: Ip;
  readonly second: Ip;
  readonly server: Ip;
  /** Where the node itself resolves names for its pods, as NodeLocal DNSCache does. */
  readonly local: Ip;
};

function parties(pods: readonly Ip[], outside: readonly Ip[], local: string): Parties {
  const [client, other, dns] = pods;
  const [resolver, second, server] = outside;
  assert.ok(client && other && dns && resolver && second && server);
  return { client, other, dns, resolver, second, server, local: parseIp(local) };
}

export const PARTIES: Readonly<Record<Family, Parties>> = {
  4: parties(PODS, OUTSIDE, '169.254.20.10'),
  6: parties(PODS6, OUTSIDE6, 'fd53::10'),
};
export const {
  client: CLIENT,
  other: OTHER,
  resolver: RESOLVER,
  second: SECOND,
  server: SERVER,
  local: LOCAL,
} = PARTIES[4];
const PORT = 4000;
/** From where pods ask. */
const ASKING = 4053;

const anybody = { networks: ['0.0.0.0/0', '::/0'] };
const SPEC = {
  tier: 'Admin',
  priority: 1,
  subject: { pods: { namespaceSelector: {}, podSelector: { matchLabels: { app: 'client' } } } },
  egress: [
    { action: 'Accept', to: [anybody], protocols: [{ udp: { destinationPort: { number: 53 } } }] },
    { action: 'Accept', to: [{ domainNames: ['*.example.org'] }] },
    { action: 'Deny', to: [anybody] },
  ],
};

type PodsNode = RoutedNode | BridgedNode;

/** A node on which the client may reach nothing but resolvers and what is below example.org. */
export class NamesNode implements AsyncDisposable {
  readonly node: PodsNode;
  readonly dir = mkdtempSync(join(tmpdir(), 'flatnet-names-'));
  readonly #running: Running;
  readonly #part = new PolicyPart();
  readonly #view: PolicyView;
  readonly #arrivals = new Map<Ip, UdpSocket>();
  #names: KnownNames | undefined;
  #policies: NodePolicies | undefined;
  #stop = new AbortController();
  #done: Promise<void> | undefined;
  watch: NameWatch | undefined;
  /** Whether nothing is applied any more. */
  isStuck = false;

  constructor(node: PodsNode = new RoutedNode()) {
    this.node = node;
    this.#running = new Running({ path: netnsPath(node.name) });
    const pods = [entityOf('client'), entityOf('other'), { ...entityOf('dns'), ...CLUSTER_DNS }];
    const { tiers, problems } = collectPolicies([
      { kind: 'ClusterNetworkPolicy', name: 'names', spec: SPEC },
    ]);
    assert.deepEqual(problems, []);
    this.#view = {
      tiers,
      problems,
      others: [],
      pods: new Map(pods.map((pod) => [`${pod.namespace}/${pod.name}`, pod])),
    };
    this.run('ip', 'link', 'set', 'lo', 'up');
    for (const { second, server, local } of Object.values(PARTIES)) {
      for (const ip of [second, server])
        this.#arrivals.set(ip, UdpSocket.open(this.node.at(ip), { ip, port: PORT }));
      this.run('ip', 'address', 'add', hostCidr(local), 'dev', 'lo');
    }
  }

  run(...command: string[]): void {
    execFileSync('ip', ['netns', 'exec', this.node.name, ...command], { stdio: 'pipe' });
  }

  get observed(): string | undefined {
    return this.#names?.observed;
  }

  get known(): [Ip, readonly string[]][] {
    return [...(this.#names?.addresses ?? [])];
  }

  /** Starts an agent's watch, which ends with `stop`. */
  async start(): Promise<void> {
    this.#stop = new AbortController();
    this.watch = new NameWatch({
      wanted: () => this.#policies?.wanted,
      setNames: (names) => {
        this.#names = names;
        this.#compute();
      },
      applied: () => (this.isStuck ? new Promise(() => {}) : this.#running.reconciler.run()),
      file: join(this.dir, 'names.json'),
      log: SILENT,
      netns: netnsPath(this.node.name),
      resolvConf: [],
    });
    await this.watch.recall();
    this.#done = this.watch.run(this.#stop.signal);
    await until(() => this.observed !== undefined);
    await this.#running.settled();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#done;
  }

  async settled(): Promise<void> {
    await this.#running.settled();
  }

  /** What a pod is answered that asks a server for a name; undefined after a while without an answer. */
  async ask(pod: Ip, server: Ip, question: string): Promise<Buffer | undefined> {
    using socket = UdpSocket.open(this.node.at(pod), { ip: pod, port: ASKING });
    socket.send(dnsMessage({ flags: 0x0100, question, records: [] }), { ip: server, port: 53 });
    return await received(socket);
  }

  /** Serves one answer at an address: whatever is asked, this is said. */
  answering(at: string, ip: Ip, question: string, ...records: WrittenRecord[]): Disposable {
    const server = UdpSocket.open(at, { ip, port: 53 });
    const timer = setInterval(() => {
      const to = { ip: PARTIES[familyOf(ip)].client, port: ASKING };
      if (server.receive()) server.send(dnsMessage({ question, records }), to);
    }, 5);
    const close = (): void => {
      clearInterval(timer);
      server[Symbol.dispose]();
    };
    return { [Symbol.dispose]: close };
  }

  /** Whether the first packet that a pod now sends to an address arrives. */
  async reaches(pod: Ip, to: Ip): Promise<boolean> {
    const arrivals = this.#arrivals.get(to) ?? assert.fail();
    while (arrivals.receive());
    using socket = UdpSocket.open(this.node.at(pod), { ip: pod, port: 0 });
    socket.send(Buffer.from('hello'), { ip: to, port: PORT });
    return (await received(arrivals, process.env.FLATNET_EMULATED ? 1000 : 100)) !== undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    this.#running[Symbol.dispose]();
    for (const socket of this.#arrivals.values()) socket[Symbol.dispose]();
    this.node[Symbol.dispose]();
    rmSync(this.dir, { recursive: true });
  }

  #compute(): void {
    const wiring = this.node instanceof RoutedNode ? 'routed' : 'bridge';
    const pods = [localPod('client'), localPod('other'), { ...localPod('dns'), namespace: 'kube-system' }];
    this.#policies = this.#part.of(
      pods.map((pod) => ({ ...pod, wiring })),
      this.#view,
      {
        subnets: [],
        families: [4, 6],
        devices: 'fltp',
        bridge: 'cni0',
        names: this.#names,
        resolvers: Object.values(PARTIES).flatMap(({ resolver, local }) => [resolver, local].map(hostCidr)),
      },
    );
    this.#running.wantAll(this.#policies.contributions);
    this.watch?.noticed();
  }
}

type PodName = 'client' | 'other' | 'dns';

const addressesOf = (name: PodName): Ip[] => Object.values(PARTIES).map((each) => each[name]);

const entityOf = (name: PodName): PodEntity => ({ ...podOf(name, CLIENT), addresses: addressesOf(name) });

/** As every distribution marks it. */
const CLUSTER_DNS = { namespace: 'kube-system', labels: { 'k8s-app': 'kube-dns' } };

function localPod(name: PodName): LocalPod {
  return {
    namespace: 'default',
    name,
    labels: {},
    containerId: name,
    ifName: 'eth0',
    netns: '/n',
    addresses: addressesOf(name),
  };
}

/** Waits for a datagram; undefined if none comes. */
async function received(socket: UdpSocket, limit = 20_000): Promise<Buffer | undefined> {
  for (const end = performance.now() + limit; performance.now() < end; await sleep(2)) {
    const data = socket.receive();
    if (data) return Buffer.from(data);
  }
  return undefined;
}

/** An emulated machine takes long to start a program. */
const PATIENCE = process.env.FLATNET_EMULATED ? 200_000 : 20_000;

export async function until(holds: () => boolean | Promise<boolean>, limit = PATIENCE): Promise<void> {
  for (const end = performance.now() + limit; !(await holds()); await sleep(10))
    assert.ok(performance.now() < end, 'not after a long time');
}

/**
 * Makes a Service for each endpoint of a family, which leads DNS there as kube-proxy does by nftables; the
 * Services' addresses by their endpoints.
 */
export function leadToServices(names: NamesNode, endpoints: readonly Ip[]): ReadonlyMap<Ip, Ip> {
  const family = familyOf(endpoints[0] ?? CLIENT);
  const first = ipToBigInt(FIRST_SERVICE[family]);
  const services = new Map(endpoints.map((ip, i) => [ip, ipFromBigInt(family, first + BigInt(i))]));
  const [ip, type] = family === 4 ? ['ip', 'ipv4_addr'] : ['ip6', 'ipv6_addr'];
  const all = [...services].map(([endpoint, service], i) => ({ endpoint, service, i }));
  const elements = all.map(({ service, i }) => `${service} . udp . 53 : goto service-${i}`);
  const chains = all.map(({ endpoint, i }) => {
    const to = family === 4 ? endpoint : `[${endpoint}]`;
    return `
      chain service-${i} { numgen random mod 1 vmap { 0 : goto endpoint-${i} }; }
      chain endpoint-${i} {
        ${ip} saddr ${endpoint} meta mark set meta mark or 0x4000
        meta l4proto udp dnat to ${to}:53
      }`;
  });
  const rules = `
    table ${ip} kube-proxy {
      map service-ips {
        type ${type} . inet_proto . inet_service : verdict
        elements = { ${elements.join(', ')} }
      }
      chain nat-prerouting { type nat hook prerouting priority dstnat; jump services; }
      chain nat-output { type nat hook output priority -100; jump services; }
      chain nat-postrouting {
        type nat hook postrouting priority srcnat
        meta mark & 0x4000 == 0 return
        masquerade
      }
      chain services { ${ip} daddr . meta l4proto . th dport vmap @service-ips; }
      ${chains.join('')}
    }`;
  names.run('sh', '-c', `nft -f - <<'END'\n${rules}\nEND`);
  return services;
}

const FIRST_SERVICE = { 4: parseIp('10.96.0.10'), 6: parseIp('fd96::10') };
