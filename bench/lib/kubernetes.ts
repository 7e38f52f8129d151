import { readFileSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import type { KubernetesClient } from '../../src/kubernetes/api/client.ts';
import { goJson } from '../../src/store/flannel/go-json.ts';
import { CONFIG_MAPS, NODES } from '../../src/store/kubernetes/kinds.ts';
import { annotationKeys } from '../../src/store/kubernetes/node/keys.ts';
import type { StoreOptions } from '../../src/store/open.ts';
import { ApiServer, PODS } from '../../test/kubernetes/api-server.ts';
import { agentToken, NAMESPACE } from '../../test/store/kubernetes/rights.ts';
import type { Machine } from './machine.ts';
import { netConf, peer } from './peers.ts';

const KEYS = annotationKeys();
/** Objects that are created at a time. */
const AT_ONCE = 32;
/** Logs what agents ask for, and nothing else. */
const AUDIT = {
  apiVersion: 'audit.k8s.io/v1',
  kind: 'Policy',
  omitStages: ['ResponseStarted', 'ResponseComplete', 'Panic'],
  rules: [{ level: 'Metadata', users: [`system:serviceaccount:${NAMESPACE}:flatnet`] }, { level: 'None' }],
};

/** A real API server with thousands of nodes, of which one exists, and their pods. */
export class LargeCluster {
  readonly admin: KubernetesClient;
  readonly store: StoreOptions;
  /** Bytes that the server has sent to agents. */
  received = 0;
  readonly #server: ApiServer;
  readonly #machine: Machine;
  readonly #audit: string;

  private constructor(machine: Machine, server: ApiServer, audit: string, token: string) {
    this.admin = server.client({ after: (end) => machine.defer(end) });
    this.store = { kubernetes: { kubeconfig: server.kubeconfig(token), namespace: NAMESPACE } };
    this.#server = server;
    this.#machine = machine;
    this.#audit = audit;
  }

  /** With the node `self`. */
  static async start(machine: Machine, peers: number, pods: number): Promise<LargeCluster> {
    const [policy, audit] = [join(machine.dir, 'audit.json'), join(machine.dir, 'audit.log')];
    writeFileSync(policy, JSON.stringify(AUDIT));
    const life = { after: (end: () => unknown) => machine.defer(end) };
    const flags = [`--audit-policy-file=${policy}`, `--audit-log-path=${audit}`];
    const server = await ApiServer.start(life, { flags });
    const admin = server.client(life);
    const cluster = new LargeCluster(machine, server, audit, await agentToken(admin));
    const metadata = { namespace: NAMESPACE, name: 'kube-flannel-cfg' };
    await admin.create(CONFIG_MAPS, {
      metadata,
      data: { 'net-conf.json': JSON.stringify(netConf('vxlan')) },
    });
    await admin.create(NODES, nodeObject('self', '10.128.0.0/24', {}));
    await each(peers, (i) => admin.create(NODES, peerObject(i)));
    await each(pods, (i) => admin.create(PODS, podObject(i, peers)));
    return cluster;
  }

  /** How many requests agents have made so far. */
  get requests(): number {
    return readFileSync(this.#audit, 'utf8').split('\n').length - 1;
  }

  /** Lets a namespace reach the API server, through a tunnel that counts. */
  async connect(netns: string, name: string): Promise<void> {
    const path = join(this.#machine.dir, `${name}-api.sock`);
    const port = this.#server.port;
    const relay = net.createServer((client) => {
      const far = net.connect(port, '127.0.0.1');
      far.on('data', (data) => (this.received += data.length));
      client.pipe(far).pipe(client);
      client.on('error', () => {}).on('close', () => far.destroy());
      far.on('error', () => {}).on('close', () => client.destroy());
    });
    relay.listen(path);
    this.#machine.defer(() => relay.close());
    const main = join(import.meta.dirname, '../../test/kubernetes/tunnel-main.ts');
    this.#machine.spawn([process.execPath, main, `${port}`, path], { netns, log: `${name}-tunnel.log` });
  }

  /** Gives a peer another MAC, as after a reinstall. */
  async replace(i: number, generation: number): Promise<void> {
    const { metadata } = peerObject(i, generation);
    await this.admin.patch(NODES, { name: metadata.name }, 'merge', { metadata });
  }

  /** What a kubelet tells every five minutes. */
  async heartbeat(i: number): Promise<void> {
    const status = statusOf(new Date().toISOString());
    await this.admin.patch(NODES, { name: nameOf(i) }, 'merge', { status }, { subresource: 'status' });
  }
}

function nameOf(i: number): string {
  return `peer${i}`;
}

function peerObject(i: number, generation = 0) {
  const { addresses, subnets, backend } = peer('vxlan', i, generation);
  return nodeObject(nameOf(i), String(subnets[0]), {
    [KEYS.manager]: 'true',
    [KEYS.backendType]: backend.type,
    [KEYS.backendData[4]]: goJson(backend.data[4] ?? null),
    [KEYS.publicIp[4]]: String(addresses[4]),
  });
}

/** About as large as a kubelet makes it. */
function nodeObject(name: string, podCIDR: string, annotations: Readonly<Record<string, string>>) {
  const labels = {
    'kubernetes.io/hostname': name,
    'kubernetes.io/os': 'linux',
    'kubernetes.io/arch': 'amd64',
    'node.kubernetes.io/instance-type': 'm5.large',
    'topology.kubernetes.io/zone': 'zone-1',
  };
  return {
    metadata: { name, labels, annotations },
    spec: { podCIDR, podCIDRs: [podCIDR] },
    status: statusOf('2026-01-01T00:00:00Z'),
  };
}

function statusOf(lastHeartbeatTime: string) {
  const types = ['MemoryPressure', 'DiskPressure', 'PIDPressure', 'Ready'];
  return {
    capacity: { cpu: '8', memory: '32Gi', pods: '110' },
    allocatable: { cpu: '7', memory: '30Gi', pods: '110' },
    conditions: types.map((type) => ({
      type,
      status: type === 'Ready' ? 'True' : 'False',
      reason: `Kubelet${type}`,
      message: `the kubelet says so of ${type}`,
      lastHeartbeatTime,
      lastTransitionTime: '2026-01-01T00:00:00Z',
    })),
    images: Array.from({ length: 20 }, (_, i) => ({
      names: [`registry.example/images/image-${i}@sha256:${String(i).padStart(64, '0')}`],
      sizeBytes: 100_000_000 + i,
    })),
  };
}

/** Spread over the nodes. */
function podObject(i: number, peers: number) {
  const nodeName = i % 1000 === 0 ? 'self' : nameOf(i % peers);
  const containers = [{ name: 'main', image: 'registry.example/images/image-1' }];
  const metadata = { namespace: 'default', name: `pod${i}`, labels: { app: `app${i % 100}` } };
  return { metadata, spec: { nodeName, containers } };
}

async function each(count: number, work: (i: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}
