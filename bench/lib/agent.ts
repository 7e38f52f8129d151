import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { askAgent } from '../../src/agent/ask.ts';
import { AGENT_SOCKET, type AgentOptions } from '../../src/agent/options.ts';
import { poll } from '../../src/async/poll.ts';
import { CONF_LIST_FILE } from '../../src/cni/protocol/conflist.ts';
import { DEFAULT_PREFIX, Layout } from '../../src/store/etcd/layout.ts';
import { EtcdKv } from '../../src/store/kv/client.ts';
import type { StoreOptions } from '../../src/store/open.ts';
import { type Machine, stop } from './machine.ts';

const FLATNET = new URL('../../bin/flatnet', import.meta.url).pathname;

/** Timeout for a process to become ready, in milliseconds. */
const PATIENCE = 60_000;

/** Starts the embedded store as a separate process; returns a client too. */
export async function startStore(
  machine: Machine,
  name: string,
): Promise<{ readonly endpoint: string; readonly kv: EtcdKv }> {
  const path = join(machine.dir, name);
  const socket = `${path}.sock`;
  const endpoint = `unix:${socket}`;
  const command = [FLATNET, 'store', 'serve', '--listen', endpoint, '--data', `${path}.db`];
  const child = machine.spawn(command, { log: `${name}.log` });
  await until(() => existsSync(socket), child, `${path}.log`);
  return { endpoint, kv: new EtcdKv({ endpoints: [endpoint] }) };
}

/** Writes a network's configuration, as `etcdctl put PREFIX/config`. */
export async function configure(kv: EtcdKv, conf: object, prefix = DEFAULT_PREFIX): Promise<void> {
  await kv.put(new Layout(prefix).config, JSON.stringify(conf));
}

/** The store at an endpoint. */
export function storeAt(endpoint: string, prefix = DEFAULT_PREFIX): StoreOptions {
  return { endpoints: [endpoint], prefix, leaseTtl: 86_400 };
}

/** A node: a namespace with an `eth0`, and an agent process in it. */
export class Node {
  readonly name: string;
  readonly netns: string;
  readonly #machine: Machine;
  readonly #dir: string;
  readonly #options: AgentOptions;
  #agent: ChildProcess | undefined;

  /** `name`: also that of its folder, unless `node` names the node. */
  constructor(machine: Machine, name: string, netns: string, store: StoreOptions, node = name) {
    this.name = name;
    this.netns = netns;
    this.#machine = machine;
    this.#dir = join(machine.dir, name);
    mkdirSync(this.#dir);
    const path = (part: string): string => join(this.#dir, part);
    this.#options = {
      node,
      labels: {},
      store,
      iface: 'eth0',
      paths: {
        run: path('run'),
        state: path('state'),
        subnetFile: path('subnet.env'),
        cniConf: path('net.d'),
        cniBin: path('bin'),
        cniData: path('networks'),
      },
      logLevel: 'warn',
    };
    writeFileSync(path('agent.json'), JSON.stringify(this.#options));
  }

  get pid(): number {
    if (this.#agent?.pid === undefined) throw new Error(`${this.name}: the agent is not running`);
    return this.#agent.pid;
  }

  /** Starts the agent without waiting for it. */
  start(): void {
    const command = [FLATNET, 'agent', '--config', join(this.#dir, 'agent.json')];
    this.#agent = this.#machine.spawn(command, { netns: this.netns, log: `${this.name}.log` });
  }

  /** Resolves when the node accepts pods. */
  async ready(): Promise<void> {
    const socket = join(this.#options.paths.run, AGENT_SOCKET);
    const agent = this.#agent;
    if (!agent) throw new Error(`${this.name}: the agent was not started`);
    await until(
      async () => {
        const status = await askAgent(socket, { op: 'status' }).catch(() => undefined);
        return status?.ready === true && existsSync(join(this.#options.paths.cniConf, CONF_LIST_FILE));
      },
      agent,
      join(this.#machine.dir, `${this.name}.log`),
    );
  }

  /**
   * Kills the agent and starts it again; returns the milliseconds until the node accepts pods. The kernel's
   * state is already correct, so that may be at once.
   */
  async restart(): Promise<number> {
    await this.stop('SIGKILL');
    const start = performance.now();
    this.start();
    await this.ready();
    return performance.now() - start;
  }

  async stop(signal: NodeJS.Signals): Promise<void> {
    if (this.#agent) await stop(this.#agent, signal);
  }

  /** How a container runtime calls this node's plugin. */
  cni(): { readonly binDir: string; readonly conf: object } {
    const { cniConf, cniBin } = this.#options.paths;
    const {
      plugins,
      cniVersions: _,
      ...list
    } = JSON.parse(readFileSync(join(cniConf, CONF_LIST_FILE), 'utf8'));
    const { capabilities: __, ...conf } = plugins[0];
    return { binDir: cniBin, conf: { ...list, ...conf } };
  }

  /** CNI ADD by the plugin that the agent installed; returns the pod's first address. */
  async add(containerId: string, netns: string): Promise<string> {
    const { binDir, conf } = this.cni();
    const child = spawn(join(binDir, 'flatnet'), {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: {
        CNI_COMMAND: 'ADD',
        CNI_CONTAINERID: containerId,
        CNI_NETNS: netns,
        CNI_IFNAME: 'eth0',
        CNI_PATH: binDir,
      },
    });
    child.stdin.end(JSON.stringify(conf));
    const result = JSON.parse((await child.stdout.setEncoding('utf8').toArray()).join(''));
    const address: unknown = result.ips?.[0]?.address;
    if (typeof address !== 'string') throw new Error(`ADD ${containerId}: ${JSON.stringify(result)}`);
    return address.replace(/\/.*/, '');
  }
}

async function until(
  done: () => boolean | Promise<boolean>,
  child: ChildProcess,
  log: string,
): Promise<void> {
  const ask = async () => ((await done()) ? 'done' : child.exitCode === null ? undefined : 'exited');
  if ((await poll(ask, { every: 20, patience: PATIENCE })) === 'done') return;
  throw new Error(`not ready: ${readFileSync(log, 'utf8').slice(-1000)}`);
}

export type Usage = {
  /** MB resident. */
  readonly memory: number;
  /** CPU time of all live threads, in milliseconds. */
  readonly cpu: number;
  /** How often a thread resumed after waiting. */
  readonly wakeUps: number;
};

/** Resources a process has used so far. */
export function usageOf(pid: number): Usage {
  const usage = {
    memory: field(readFileSync(`/proc/${pid}/status`, 'utf8'), 'VmRSS') / 1024,
    cpu: 0,
    wakeUps: 0,
  };
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    const path = `/proc/${pid}/task/${thread}`;
    usage.cpu += Number(readFileSync(`${path}/schedstat`, 'utf8').split(' ')[0]) / 1e6;
    usage.wakeUps += field(readFileSync(`${path}/status`, 'utf8'), 'voluntary_ctxt_switches');
  }
  return usage;
}

function field(text: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s*([0-9]+)`, 'm').exec(text)?.[1]);
}
