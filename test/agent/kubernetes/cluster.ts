import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { promisify } from 'node:util';
import type { AgentOptions } from '../../../src/agent/options.ts';
import type { AgentStatus } from '../../../src/agent/status.ts';
import { readNetwork } from '../../../src/cluster/network.ts';
import type { Ip } from '../../../src/ip/address.ts';
import type { KubernetesClient } from '../../../src/kubernetes/api/client.ts';
import { asJson, type Json } from '../../../src/kubernetes/api/object.ts';
import { down } from '../../../src/lab/down.ts';
import { agentStatus, stopAgent } from '../../../src/lab/machine/agent.ts';
import { flatnetProgram } from '../../../src/lab/machine/programs.ts';
import { createPod } from '../../../src/lab/pods/pod.ts';
import { writeJson } from '../../../src/lab/record/files.ts';
import { type Lab, labEnvironment } from '../../../src/lab/record/lab.ts';
import { netnsOf, podNetns } from '../../../src/lab/record/names.ts';
import { up } from '../../../src/lab/up.ts';
import { netnsPath } from '../../../src/linux/netns.ts';
import { spawnDetached } from '../../../src/linux/process.ts';
import { CONFIG_MAPS, NODES } from '../../../src/store/kubernetes/kinds.ts';
import { ApiServer } from '../../kubernetes/api-server.ts';
import { agentToken, NAMESPACE } from '../../store/kubernetes/rights.ts';
import { eventually } from '../../store/servers.ts';
import { RunningPing } from '../running-ping.ts';

const run = promisify(execFile);

export const NETWORK = { Network: '10.244.0.0/16', Backend: { Type: 'vxlan' } };

/** Nodes of a lab, whose agents have nothing but a real API server, and the rights that are shipped. */
export class KubernetesCluster {
  readonly lab: Lab;
  readonly server: ApiServer;
  readonly admin: KubernetesClient;
  readonly #kubeconfig: string;
  readonly #pods = new Map<string, Ip>();

  private constructor(lab: Lab, server: ApiServer, admin: KubernetesClient, kubeconfig: string) {
    this.lab = lab;
    this.server = server;
    this.admin = admin;
    this.#kubeconfig = kubeconfig;
  }

  /** Without Node objects yet; their agents do not run. */
  static async start(t: TestContext, nodes: number): Promise<KubernetesCluster> {
    const server = await ApiServer.start(t);
    const admin = server.client(t);
    const kubeconfig = join(server.folder, 'agent.kubeconfig');
    writeFileSync(kubeconfig, kubeconfigOf(server, await agentToken(admin)), { mode: 0o600 });
    const metadata = { namespace: NAMESPACE, name: 'kube-flannel-cfg' };
    await admin.create(CONFIG_MAPS, { metadata, data: { 'net-conf.json': JSON.stringify(NETWORK) } });
    const lab = await up({ name: `k${process.pid}`, nodes, subnets: 1, network: readNetwork(NETWORK) });
    t.after(() => down(lab.name));
    const cluster = new KubernetesCluster(lab, server, admin, kubeconfig);
    await cluster.#open(t);
    return cluster;
  }

  /** What kubelet and controller-manager do: the Node object. */
  async register(name: string, podCIDR?: string): Promise<void> {
    await this.admin.create(NODES, {
      metadata: { name },
      spec: podCIDR ? { podCIDR, podCIDRs: [podCIDR] } : {},
    });
  }

  async startAgent(name: string): Promise<void> {
    const paths = this.lab.paths.node(name);
    const options: AgentOptions = {
      node: name,
      labels: {},
      store: { kubernetes: { kubeconfig: this.#kubeconfig, namespace: NAMESPACE } },
      iface: 'eth0',
      paths: paths.agent,
      logLevel: 'info',
    };
    writeJson(paths.agentConfig, options);
    const id = await spawnDetached(flatnetProgram('agent', '--config', paths.agentConfig), {
      logFile: paths.agentLog,
      env: labEnvironment(this.lab.name),
      netns: netnsPath(netnsOf(this.lab.name, name)),
    });
    writeJson(paths.agentProcess, id);
  }

  async restartAgent(name: string): Promise<void> {
    await stopAgent(this.lab, name, 'kill');
    await this.startAgent(name);
  }

  /** Waits until a node's status is as wanted. */
  async until(
    name: string,
    holds: (status: AgentStatus) => boolean,
    patience = 30_000,
  ): Promise<AgentStatus> {
    let last: AgentStatus | undefined;
    try {
      return await eventually(async () => {
        last = await agentStatus(this.lab, name);
        return last && holds(last) ? last : undefined;
      }, patience);
    } catch {
      throw new Error(`${name} says: ${JSON.stringify(last, null, 1)?.slice(0, 3000)}`);
    }
  }

  /** The condition NetworkUnavailable of a Node. */
  async condition(name: string): Promise<Json> {
    const { conditions } = asJson((await this.admin.get(NODES, { name })).status);
    const all: readonly unknown[] = Array.isArray(conditions) ? conditions : [];
    return all.map(asJson).find(({ type }) => type === 'NetworkUnavailable') ?? {};
  }

  async pod(name: string, node: string): Promise<void> {
    const { addresses } = await createPod(this.lab, {
      namespace: 'default',
      name,
      node,
      labels: {},
      containers: [],
    });
    const [ip] = addresses;
    if (ip === undefined) throw new Error('the pod has no address');
    this.#pods.set(name, ip);
  }

  /** The address of a pod. */
  ip(pod: string): Ip {
    const ip = this.#pods.get(pod);
    if (ip === undefined) throw new Error(`there is no pod ${pod}`);
    return ip;
  }

  /** Whether one pod's ping reaches another; tried for some seconds. */
  async reaches(from: string, to: string): Promise<boolean> {
    const netns = podNetns(this.lab.name, 'default', from);
    const ping = ['netns', 'exec', netns, 'ping', '-n', '-c1', '-W1', this.ip(to)];
    try {
      return await eventually(
        () =>
          run('ip', ping).then(
            () => true,
            () => undefined,
          ),
        10_000,
      );
    } catch {
      return false;
    }
  }

  ping(t: TestContext, from: string, to: string): RunningPing {
    return new RunningPing(t, podNetns(this.lab.name, 'default', from), this.ip(to));
  }

  /** Ends the lab's own agents, forgets what they knew, and lets nodes reach the API server. */
  async #open(t: TestContext): Promise<void> {
    const path = join(this.server.folder, 'api.sock');
    const relay = net.createServer((client) => {
      const far = net.connect(this.server.port, '127.0.0.1');
      client.pipe(far).pipe(client);
      client.on('error', () => {}).on('close', () => far.destroy());
      far.on('error', () => {}).on('close', () => client.destroy());
    });
    relay.listen(path);
    t.after(() => relay.close());
    const tunnels: ChildProcess[] = [];
    t.after(() => {
      for (const child of tunnels) child.kill('SIGKILL');
    });
    for (const { name } of this.lab.state.nodes) {
      await stopAgent(this.lab, name, 'stop');
      const { state, subnetFile } = this.lab.paths.node(name).agent;
      for (const gone of [state, subnetFile]) rmSync(gone, { recursive: true, force: true });
      const netns = netnsOf(this.lab.name, name);
      const main = join(import.meta.dirname, '../../kubernetes/tunnel-main.ts');
      const argv = ['netns', 'exec', netns, process.execPath, main, `${this.server.port}`, path];
      const child = spawn('ip', argv, { stdio: ['ignore', 'pipe', 'inherit'] });
      tunnels.push(child);
      await once(child.stdout, 'data');
    }
  }
}

function kubeconfigOf(server: ApiServer, token: string): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'test',
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'agent' } }],
    clusters: [{ name: 'test', cluster: { server: server.url, 'certificate-authority': server.ca } }],
    users: [{ name: 'agent', user: { token } }],
  });
}
