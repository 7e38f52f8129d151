import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { addressOf } from '../../src/ip/cidr.ts';
import { createNode, deleteNode } from '../../src/lab/machine/underlay.ts';
import { nodeAddresses } from '../../src/lab/machine/underlay-plan.ts';
import { netnsOf } from '../../src/lab/record/names.ts';
import type { LabNode } from '../../src/lab/record/topology.ts';
import type { EtcdOptions } from '../../src/store/open.ts';
import { Service } from '../kubernetes/nodes/service.ts';
import { Authority } from '../kubernetes/pki.ts';
import { temporaryFolder } from '../store/servers.ts';

const ADMIN = join(import.meta.dirname, 'etcd-admin-main.ts');
const [CLIENTS, PEERS] = [2379, 2380];

type Member = { readonly node: LabNode; readonly ip: string; readonly service: Service };

/** Real etcd in three namespaces on the network of a lab's nodes, with TLS and users. */
export class EtcdMembers implements AsyncDisposable {
  readonly options: EtcdOptions;
  readonly #lab: string;
  readonly #folder = temporaryFolder();
  readonly #members: readonly Member[];

  private constructor(lab: string) {
    this.#lab = lab;
    const authority = new Authority(this.#folder);
    const names = [1, 2, 3].map((i) => {
      const node: LabNode = { name: `etcd${i}`, index: 100 + i, subnet: 0 };
      return { node, ip: addressOf(nodeAddresses(node.index, 0)[4]) };
    });
    const all = names.map(({ node, ip }) => `${node.name}=http://${ip}:${PEERS}`).join(',');
    this.#members = names.map(({ node, ip }) => {
      const { cert, key } = authority.server(ip);
      const folder = join(this.#folder, node.name);
      mkdirSync(folder, { mode: 0o700 });
      const argv = [
        ...['ip', 'netns', 'exec', netnsOf(lab, node.name), 'etcd', `--name=${node.name}`],
        `--data-dir=${join(folder, 'data')}`,
        `--listen-client-urls=https://${ip}:${CLIENTS},https://127.0.0.1:${CLIENTS}`,
        `--advertise-client-urls=https://${ip}:${CLIENTS}`,
        `--listen-peer-urls=http://${ip}:${PEERS}`,
        `--initial-advertise-peer-urls=http://${ip}:${PEERS}`,
        `--initial-cluster=${all}`,
        `--cert-file=${cert}`,
        `--key-file=${key}`,
      ];
      return { node, ip, service: new Service(argv, join(folder, 'log')) };
    });
    this.options = {
      endpoints: names.map(({ ip }) => `https://${ip}:${CLIENTS}`),
      tls: { caFile: authority.ca },
      username: 'agent',
      password: 'agent-secret',
    };
  }

  /** Returns when it has a leader, and nobody gets in without a password. */
  static async start(lab: string): Promise<EtcdMembers> {
    const members = new EtcdMembers(lab);
    try {
      for (const { node } of members.#members) await createNode(lab, node);
      for (const { service } of members.#members) service.start();
      await members.admin('users');
    } catch (error) {
      await members[Symbol.asyncDispose]();
      throw error;
    }
    return members;
  }

  get names(): readonly string[] {
    return this.#members.map(({ node }) => node.name);
  }

  /** Runs a command of `etcd-admin-main.ts` in the lab's network, by way of the members but `without`. */
  async admin(command: string, argument = '', without = ''): Promise<string> {
    const reached = this.#members.filter(({ node }) => node.name !== without);
    const endpoints = reached.map(({ ip }) => `https://${ip}:${CLIENTS}`);
    const netns = netnsOf(this.#lab, reached[0]?.node.name ?? '');
    const options = JSON.stringify({ ...this.options, endpoints });
    const node = [process.execPath, '--disable-warning=ExperimentalWarning', ADMIN, options];
    const argv = ['netns', 'exec', netns, ...node, command, argument];
    return (await promisify(execFile)('ip', argv)).stdout;
  }

  async kill(name: string): Promise<void> {
    await this.#member(name).service.stop();
  }

  restart(name: string): void {
    this.#member(name).service.start();
  }

  /** Cuts a member off the others. Its clients still reach it. */
  cut(name: string): void {
    const rules = ['input', 'output'].map(
      (hook) =>
        `chain ${hook} { type filter hook ${hook} priority 0; tcp dport ${PEERS} drop; tcp sport ${PEERS} drop; }`,
    );
    this.#nft(name, `table inet cut { ${rules.join('; ')}; }`);
  }

  mend(name: string): void {
    this.#nft(name, 'delete table inet cut');
  }

  /** The end of a member's log. */
  log(name: string): string {
    return readFileSync(join(this.#folder, name, 'log'), 'utf8').slice(-2000);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { service, node } of this.#members) {
      await service.stop();
      await deleteNode(this.#lab, node);
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #nft(name: string, command: string): void {
    execFileSync('ip', ['netns', 'exec', netnsOf(this.#lab, name), 'nft', command]);
  }

  #member(name: string): Member {
    const member = this.#members.find(({ node }) => node.name === name);
    if (!member) throw new Error(`there is no ${name}`);
    return member;
  }
}
