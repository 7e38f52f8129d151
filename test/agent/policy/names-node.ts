import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { NameWatch } from '../../../src/agent/policy/names.ts';
import type { LocalPod } from '../../../src/cluster/node.ts';
import { type Ip, parseIp } from '../../../src/ip/address.ts';
import { hostCidr } from '../../../src/ip/cidr.ts';
import { netnsPath } from '../../../src/linux/netns.ts';
import { UdpSocket } from '../../../src/linux/udp.ts';
import { SILENT } from '../../../src/log.ts';
import { collectPolicies } from '../../../src/policy/collect.ts';
import type { PolicyView } from '../../../src/policy/model/view.ts';
import { type KnownNames, type NodePolicies, PolicyPart } from '../../../src/policy/node/contributions.ts';
import { dnsMessage, type WrittenRecord } from '../../policy/names/dns-message.ts';
import { podOf } from '../../policy/observe/policies.ts';
import { OUTSIDE, PODS, RoutedNode } from '../../policy/routed-node.ts';
import { Running } from '../../state/namespace.ts';

export const [CLIENT, OTHER] = PODS as [Ip, Ip, ...Ip[]];
export const [RESOLVER, SECOND, SERVER] = OUTSIDE as [Ip, Ip, Ip];
/** Where the node itself resolves names for its pods, as NodeLocal DNSCache does. */
export const LOCAL = parseIp('169.254.20.10');
const PORT = 4000;
/** From where pods ask. */
const ASKING = 4053;

const anybody = { networks: ['0.0.0.0/0'] };
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

/** A node on which the client may reach nothing but resolvers and what is below example.org. */
export class NamesNode implements AsyncDisposable {
  readonly node = new RoutedNode();
  readonly dir = mkdtempSync(join(tmpdir(), 'flatnet-names-'));
  readonly #running = new Running({ path: netnsPath(this.node.name) });
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

  constructor() {
    const pods = [podOf('client', CLIENT), podOf('other', OTHER)];
    const { tiers, problems } = collectPolicies([
      { kind: 'ClusterNetworkPolicy', name: 'names', spec: SPEC },
    ]);
    assert.deepEqual(problems, []);
    this.#view = {
      tiers,
      problems,
      others: [],
      pods: new Map(pods.map((pod) => [`default/${pod.name}`, pod])),
    };
    for (const ip of [SECOND, SERVER])
      this.#arrivals.set(ip, UdpSocket.open(this.node.at(ip), { ip, port: PORT }));
    this.node.run('ip', 'link', 'set', 'lo', 'up');
    this.node.run('ip', 'address', 'add', `${LOCAL}/32`, 'dev', 'lo');
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
      if (server.receive()) server.send(dnsMessage({ question, records }), { ip: CLIENT, port: ASKING });
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
    this.#policies = this.#part.of([localPod('client', CLIENT), localPod('other', OTHER)], this.#view, {
      subnets: [],
      families: [4, 6],
      devices: 'fltp',
      bridge: 'cni0',
      names: this.#names,
      resolvers: [RESOLVER, LOCAL].map(hostCidr),
    });
    this.#running.wantAll(this.#policies.contributions);
    this.watch?.noticed();
  }
}

function localPod(name: string, ip: Ip): LocalPod {
  return {
    namespace: 'default',
    name,
    labels: {},
    containerId: name,
    ifName: 'eth0',
    netns: '/n',
    addresses: [ip],
    wiring: 'routed',
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

export async function until(holds: () => boolean | Promise<boolean>, limit = 20_000): Promise<void> {
  for (const end = performance.now() + limit; !(await holds()); await sleep(10))
    assert.ok(performance.now() < end, 'not after a long time');
}
