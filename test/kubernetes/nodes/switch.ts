import { execFile, execFileSync } from 'node:child_process';
import { existsSync, readdirSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { codeOf } from '../../../src/error.ts';
import type { Family } from '../../../src/ip/address.ts';
import { eventually } from '../../store/servers.ts';
import { HOSTS } from './networks.ts';

const run = promisify(execFile);

/** How everything that a cluster leaves on the machine begins; the tests' process ID follows. */
const PREFIX = 'flatnet-kubelets-';

/** Where this process's cluster has its files; if it is killed, the next one removes them. */
export const FOLDER = join(tmpdir(), `${PREFIX}${process.pid}`);

/** A network between namespaces that stand for machines. */
export class Switch {
  /** Begins the names of the namespaces, and names the control group. */
  readonly name = `${PREFIX}${process.pid}`;
  readonly folder = FOLDER;
  readonly families: readonly Family[];

  constructor(families: readonly Family[]) {
    this.families = families;
  }

  async open(): Promise<void> {
    await sweep();
    await ip('netns', 'add', this.name);
    await ip('-n', this.name, 'link', 'add', 'switch', 'up', 'type', 'bridge');
    await this.#address(this.name, 'switch', 1);
  }

  /**
   * Adds a machine, whose addresses end with `number`, with default routes. Returns its namespace. As
   * real ones, it has the same MAC after a loss of power: its neighbours still know that.
   */
  async connect(machine: string, number: number): Promise<string> {
    const netns = this.netns(machine);
    await ip('netns', 'add', netns);
    await ip('-n', netns, 'link', 'set', 'lo', 'up');
    const mac = `02:00:00:00:4d:${number.toString(16).padStart(2, '0')}`;
    const end = ['type', 'veth', 'peer', 'name', 'eth0', 'address', mac, 'netns', netns];
    await ip('-n', this.name, 'link', 'add', machine, 'master', 'switch', 'up', ...end);
    await ip('-n', netns, 'link', 'set', 'eth0', 'up');
    await this.#address(netns, 'eth0', number);
    for (const network of this.#networks())
      await ip('-n', netns, 'route', 'add', 'default', 'via', `${network}1`);
    return netns;
  }

  /** Takes a machine away, with all that its kernel knows of networks. */
  async disconnect(machine: string): Promise<void> {
    await ip('-n', this.name, 'link', 'delete', machine);
    await ip('netns', 'delete', this.netns(machine));
  }

  netns(machine: string): string {
    return `${this.name}-${machine}`;
  }

  /** A machine's addresses, in the order of the families. */
  addresses(number: number): readonly string[] {
    return this.#networks().map((network) => `${network}${number}`);
  }

  /** Removes all namespaces, control groups and files; the processes must have ended. */
  async close(): Promise<void> {
    await removeAll(this.name);
  }

  #networks(): readonly string[] {
    return this.families.map((family) => HOSTS[family]);
  }

  async #address(netns: string, dev: string, number: number): Promise<void> {
    for (const network of this.#networks()) {
      const six = network.includes(':');
      const address = `${network}${number}/${six ? 64 : 24}`;
      await ip('-n', netns, 'address', 'add', address, 'dev', dev, ...(six ? ['nodad'] : []));
    }
  }
}

/** Removes what tests left that were killed. */
async function sweep(): Promise<void> {
  const left = [...readdirSync(tmpdir()), ...(existsSync('/run/netns') ? readdirSync('/run/netns') : [])];
  const names = new Set(left.flatMap((name) => new RegExp(`^${PREFIX}\\d+`).exec(name) ?? []));
  for (const name of names) {
    if (!existsSync(`/proc/${name.slice(PREFIX.length)}`)) await removeAll(name);
  }
}

async function removeAll(name: string): Promise<void> {
  const netns = existsSync('/run/netns') ? readdirSync('/run/netns') : [];
  for (const each of netns) {
    if (each === name || each.startsWith(`${name}-`)) execFileSync('ip', ['netns', 'delete', each]);
  }
  for (const controller of readdirSync('/sys/fs/cgroup')) {
    // Processes that were killed leave their groups a moment later.
    await eventually(() => removeGroup(join('/sys/fs/cgroup', controller, name)));
  }
  rmSync(join(tmpdir(), name), { recursive: true, force: true });
}

/** Removes a group and those in it. Returns false while processes are in one. */
function removeGroup(path: string): boolean {
  if (!existsSync(path)) return true;
  const entries = readdirSync(path, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  if (!entries.every(({ name }) => removeGroup(join(path, name)))) return false;
  try {
    rmdirSync(path);
    return true;
  } catch (error) {
    if (codeOf(error) === 'EBUSY') return false;
    throw error;
  }
}

async function ip(...args: readonly string[]): Promise<void> {
  await run('ip', args);
}
