import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { promisify } from 'node:util';
import type { AgentOptions } from '../../../src/agent/options.ts';
import type { AgentStatus } from '../../../src/agent/status.ts';
import { readNetwork } from '../../../src/cluster/network.ts';
import type { Ip } from '../../../src/ip/address.ts';
import type { KubernetesClient } from '../../../src/kubernetes/api/client.ts';
import { list } from '../../../src/kubernetes/api/list.ts';
import { asJson, type Json } from '../../../src/kubernetes/api/object.ts';
import { EVENTS } from '../../../src/kubernetes/events/event.ts';
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
import { agentToken, allowPolicies, NAMESPACE } from '../../store/kubernetes/rights.ts';
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

  /** Without Node objects yet; their agents do not run. `network`: undefined for none. */
  static async start(
    t: TestContext,
    nodes: number,
    network: object | undefined = NETWORK,
  ): Promise<KubernetesCluster> {
    const server = await ApiServer.start(t);
    const admin = server.client(t);
    const kubeconfig = server.kubeconfig(await agentToken(admin));
    if (network && 'policy' in network) await allowPolicies(admin);
    const lab = await up({ name: `k${process.pid}`, nodes, subnets: 1, network: readNetwork(NETWORK) });
    t.after(() => down(lab.name));
    const cluster = new KubernetesCluster(lab, server, admin, kubeconfig);
    await cluster.#open(t);
    if (network) await cluster.configure(JSON.stringify(network));
    return cluster;
  }

  /** Writes the network configuration. */
  async configure(text: string): Promise<void> {
    const metadata = { namespace: NAMESPACE, name: 'kube-flannel-cfg' };
    const configMap = { metadata, data: { 'net-conf.json': text } };
    await this.admin.apply(CONFIG_MAPS, configMap, { fieldManager: 'test', force: true });
  }

  /** What kubelet and controller-manager do: the Node object. */
  async register(name: string, podCIDR?: string): Promise<void> {
    await this.admin.create(NODES, {
      metadata: { name },
      spec: podCIDR ? { podCIDR, podCIDRs: [podCIDR] } : {},
    });
  }

  async startAgent(name: string, settings: Partial<AgentOptions> = {}): Promise<void> {
    const paths = this.lab.paths.node(name);
    const options: AgentOptions = {
      node: name,
      labels: {},
      store: { kubernetes: { kubeconfig: this.#kubeconfig, namespace: NAMESPACE } },
      iface: 'eth0',
      paths: paths.agent,
      logLevel: 'info',
      ...settings,
    };
    writeJson(paths.agentConfig, options);
    const id = await spawnDetached(flatnetProgram('agent', '--config', paths.agentConfig), {
      logFile: paths.agentLog,
      env: labEnvironment(this.lab.name),
      netns: netnsPath(netnsOf(this.lab.name, name)),
    });
    writeJson(paths.agentProcess, id);
  }

  /** Forgets what a node's agent knew. */
  async forgetAll(name: string): Promise<void> {
    await stopAgent(this.lab, name, 'kill');
    const { state, subnetFile } = this.lab.paths.node(name).agent;
    for (const gone of [state, subnetFile]) rmSync(gone, { recursive: true, force: true });
  }

  async restartAgent(name: string, settings: Partial<AgentOptions> = {}): Promise<void> {
    await stopAgent(this.lab, name, 'kill');
    await this.startAgent(name, settings);
  }

  /** Runs a program on a node. */
  async run(name: string, ...argv: readonly string[]): Promise<void> {
    await run('ip', ['netns', 'exec', netnsOf(this.lab.name, name), ...argv]);
  }

  /** Waits until a node's status is as wanted. */
  async until(
    name: string,
    holds: (status: AgentStatus) => boolean,
    patience = 60_000,
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

  /** Waits until the condition of a Node has a reason, and a message that matches; returns that. */
  async untilCondition(name: string, wanted: string, text = /./, patience = 60_000): Promise<string> {
    let last: Json = {};
    try {
      return await eventually(async () => {
        last = await this.condition(name);
        const status = wanted === 'FlatnetIsUp' ? 'False' : 'True';
        const message = String(last.message);
        return last.reason === wanted && last.status === status && text.test(message) && message;
      }, patience);
    } catch {
      throw new Error(`${name} is not ${wanted} but ${JSON.stringify(last)}`);
    }
  }

  /** The Events about a Node, each as `REASON: NOTE`. */
  async events(name: string): Promise<readonly string[]> {
    const { items } = await list(this.admin, EVENTS, asJson, { namespace: 'default' });
    const own = items.filter(({ regarding }) => asJson(regarding).name === name);
    return own.map(({ reason, note }) => `${reason}: ${note}`);
  }

  /** Waits for an Event about a Node; returns the latest that matches. */
  async untilEvent(name: string, wanted: RegExp): Promise<string> {
    let last: readonly string[] = [];
    try {
      return await eventually(async () => {
        last = await this.events(name);
        return last.findLast((event) => wanted.test(event));
      }, 60_000);
    } catch {
      throw new Error(`no Event of ${name} is ${wanted}: ${last.join('\n')}`);
    }
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
      return await eventually(() =>
        run('ip', ping).then(
          () => true,
          () => undefined,
        ),
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
      await this.forgetAll(name);
      const netns = netnsOf(this.lab.name, name);
      const main = join(import.meta.dirname, '../../kubernetes/tunnel-main.ts');
      const argv = ['netns', 'exec', netns, process.execPath, main, `${this.server.port}`, path];
      const child = spawn('ip', argv, { stdio: ['ignore', 'pipe', 'inherit'] });
      tunnels.push(child);
      await once(child.stdout, 'data');
    }
  }
}
