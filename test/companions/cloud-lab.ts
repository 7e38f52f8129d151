import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { AgentStatus } from '../../src/agent/status.ts';
import { readNetwork } from '../../src/cluster/network.ts';
import type { Family } from '../../src/ip/address.ts';
import { down } from '../../src/lab/down.ts';
import { startAgent, stopAgent } from '../../src/lab/machine/agent.ts';
import { createPod } from '../../src/lab/pods/pod.ts';
import type { Lab } from '../../src/lab/record/lab.ts';
import { netnsOf, podNetns } from '../../src/lab/record/names.ts';
import { up } from '../../src/lab/up.ts';
import { netnsPath } from '../../src/linux/netns.ts';
import { type Endpoint, unreached } from '../agent/matrix.ts';
import { untilStatus } from '../agent/until-status.ts';
import { flatnet } from '../lab/host.ts';

/** The instances, each in a subnet of its own. */
export const NODES = { node1: '172.30.0.11', node2: '172.30.1.12' };
const IPV6: Readonly<Record<string, string>> = { '172.30.0.11': 'fd77::11', '172.30.1.12': 'fd77:0:0:1::12' };
/** An address at which the cloud's router serves the cloud's API. */
export const API = '172.30.255.1';
/** Where the metadata service is, as every instance sees it. */
const METADATA = '169.254.169.254';

/** A cloud whose instances run agents, and whose router has the routes that the cloud's API says. */
export class CloudLab {
  readonly lab: Lab;
  readonly #network: object;
  readonly #backend: string;
  /** Addresses of instances, by network. */
  readonly #forwarding: () => Promise<ReadonlyMap<string, string>>;
  #pods: readonly Endpoint[] = [];
  #routes: ReadonlyMap<string, string> = new Map();

  private constructor(lab: Lab, { network, backend, forwarding }: CloudOptions) {
    this.lab = lab;
    this.#network = network;
    this.#backend = backend;
    this.#forwarding = forwarding;
  }

  static async start(t: TestContext, options: CloudOptions): Promise<CloudLab> {
    const name = `c${process.pid}`;
    t.after(() => down(name));
    // A lab refuses a cloud's backend, as it has no cloud.
    const network = readNetwork({ ...options.network, Backend: { Type: 'alloc' } });
    const lab = await up({ name, nodes: 2, subnets: 2, network });
    const router = netnsOf(name, 'router');
    execFileSync('ip', ['-n', router, 'address', 'add', `${METADATA}/32`, 'dev', 'lo']);
    options.serveIn(netnsPath(router));
    const cloud = new CloudLab(lab, options);
    const pods = Object.keys(NODES).map((node) =>
      createPod(lab, { namespace: 'default', name: `on-${node}`, node, labels: {}, containers: [] }),
    );
    cloud.#pods = (await Promise.all(pods)).map(({ namespace, name: pod, addresses }) => ({
      name: pod,
      netns: netnsPath(podNetns(name, namespace, pod)),
      addresses,
    }));
    await cloud.configure({});
    return cloud;
  }

  /** Gives the router the routes that the cloud says now. */
  async route(): Promise<ReadonlyMap<string, string>> {
    const wanted = await this.#forwarding();
    const run = (...args: string[]) => execFileSync('ip', ['-n', netnsOf(this.lab.name, 'router'), ...args]);
    for (const to of this.#routes.keys()) if (!wanted.has(to)) run('route', 'delete', to);
    for (const [to, ip] of wanted)
      run('route', 'replace', to, 'via', to.includes(':') ? (IPV6[ip] ?? '') : ip);
    this.#routes = wanted;
    return wanted;
  }

  async unreached(patience?: number): Promise<string[]> {
    const [four, six] = [4, 6].map((family) => unreached(family as Family, this.#pods, this.#pods, patience));
    return [...((await four) ?? []), ...((await six) ?? [])];
  }

  async restart(node: string): Promise<void> {
    await stopAgent(this.lab, node, 'kill');
    await startAgent(this.lab, node);
  }

  until(node: string, holds: (status: AgentStatus, problems: string) => boolean): Promise<AgentStatus> {
    return untilStatus(this, { name: node }, holds);
  }

  /** Applies the network's configuration with these options of the backend. */
  async configure(backend: object): Promise<void> {
    const file = join(this.lab.paths.root, 'changed.json');
    writeFileSync(file, JSON.stringify({ ...this.#network, Backend: { Type: this.#backend, ...backend } }));
    const { status, stderr } = await flatnet('config', 'apply', '-f', file, '--lab', this.lab.name);
    assert.equal(status, 0, stderr);
  }

  async forget(node: string): Promise<void> {
    const { status, stderr } = await flatnet('forget', node, '--lab', this.lab.name);
    assert.equal(status, 0, stderr);
  }
}

export type CloudOptions = {
  /** As net-conf.json, without the backend. */
  readonly network: object;
  readonly backend: string;
  readonly forwarding: () => Promise<ReadonlyMap<string, string>>;
  /** Serves the cloud's API and metadata in the router's namespace, at any of its addresses. */
  readonly serveIn: (netns: string) => void;
};
