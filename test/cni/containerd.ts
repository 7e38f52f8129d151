import { execFile, execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { allProcesses, identify, killNow, type ProcessId, spawnDetached } from '../../src/linux/process.ts';
import { umount2 } from '../../src/linux/sys.ts';
import { busyboxImage, IMAGE } from './busybox-image.ts';
import { Cri, type SandboxConfig } from './cri.ts';

const PROGRAMS = ['containerd', 'ctr', 'runc', 'busybox'];
const CGROUPS = '/sys/fs/cgroup';
/** The paths of libcni's cache and of the sockets of containerd's shims cannot be configured. */
export const CNI_RESULTS = '/var/lib/cni/results';
const SHIM_SOCKETS = '/run/containerd/s';
const MNT_DETACH = 2;
const MARK = 'FLATNET_CONTAINERD';

/** For `skip`: false if containerd can run, or must (in CI). */
export const NO_CONTAINERD = process.env.CI ? false : missing();

function missing(): string | false {
  if (process.geteuid?.() !== 0) return 'needs root';
  const absent = PROGRAMS.filter((program) => {
    try {
      execFileSync('which', [program], { stdio: 'ignore' });
      return false;
    } catch {
      return true;
    }
  });
  return absent.length > 0 && `needs ${absent.join(', ')}: apt-get install containerd runc busybox-static`;
}

export type ContainerdOptions = {
  /** Its own folder, which holds everything containerd writes except the paths above. */
  readonly dir: string;
  /** Path of the node's network namespace. */
  readonly netns: string;
  /** CNI's folders. */
  readonly confDir: string;
  readonly binDir: string;
  /** The control group of its containers, unique on this machine. */
  readonly cgroup: string;
};

/** A containerd that uses only its own folders, in the network namespace of one node. */
export class Containerd implements AsyncDisposable {
  readonly cri: Cri;
  readonly #options: ContainerdOptions;
  #process: ProcessId | undefined;

  private constructor(options: ContainerdOptions) {
    this.#options = options;
    this.cri = new Cri(join(options.dir, 'containerd.sock'));
  }

  /** Starts containerd and imports the image. */
  static async start(options: ContainerdOptions): Promise<Containerd> {
    const containerd = new Containerd(options);
    mkdirSync(options.dir, { recursive: true });
    writeFileSync(containerd.#path('config.toml'), configuration(options, containerd.cri.socketPath));
    try {
      await containerd.start();
      await containerd.#importImage();
      return containerd;
    } catch (error) {
      await containerd[Symbol.asyncDispose]();
      throw error;
    }
  }

  async start(): Promise<void> {
    this.#process = await spawnDetached(['containerd', '--config', this.#path('config.toml')], {
      logFile: this.#path('containerd.log'),
      env: { [MARK]: this.#options.dir },
      netns: this.#options.netns,
    });
    await until('containerd answers', () => this.cri.call('Version', {}).then(() => true));
  }

  /** Sends SIGKILL; its pods keep running. */
  async kill(): Promise<void> {
    if (this.#process) await killNow([this.#process]);
  }

  /** Returns the configuration of a pod; its name makes it unique. */
  config(name: string, more: SandboxConfig = {}): SandboxConfig {
    const metadata = { name, uid: `uid-${name}`, namespace: 'default' };
    return { metadata, hostname: name, linux: { cgroup_parent: `/${this.#options.cgroup}` }, ...more };
  }

  /** Removes its processes, mounts, control groups and files, whatever state it is in. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { dir, cgroup } = this.#options;
    await this.kill();
    for (let found = this.#processes(); found.length; found = this.#processes()) await killNow(found);
    for (const path of mountsBelow(dir)) umount2(path, MNT_DETACH);
    for (const path of cgroupPaths(cgroup)) removeTree(path);
    this.#removeTraces();
    rmSync(dir, { recursive: true, force: true });
  }

  #path(name: string): string {
    return join(this.#options.dir, name);
  }

  async #importImage(): Promise<void> {
    const archive = this.#path('busybox.tar');
    writeFileSync(archive, busyboxImage());
    const args = ['--address', this.cri.socketPath, '--namespace', 'k8s.io', 'images', 'import'];
    await promisify(execFile)('ctr', [...args, '--snapshotter', 'native', archive], { timeout: 30_000 });
    await until('the image is known', () => this.cri.hasImage(IMAGE));
  }

  /** Finds its shims by an inherited variable, and its containers' processes by their control group. */
  #processes(): ProcessId[] {
    const { dir, cgroup } = this.#options;
    const shims = [...allProcesses()].filter(({ environ }) => environ.includes(`${MARK}=${dir}`));
    const pids = new Set(cgroupPaths(cgroup).flatMap(processesBelow));
    return [...shims, ...[...pids].flatMap((pid) => identify(pid) ?? [])];
  }

  #removeTraces(): void {
    const { dir } = this.#options;
    const tasks = this.#path('state/io.containerd.runtime.v2.task/k8s.io');
    for (const id of names(tasks)) {
      const address = join(tasks, id, 'address');
      if (existsSync(address)) rmSync(readFileSync(address, 'utf8').replace('unix://', ''), { force: true });
    }
    for (const name of names(CNI_RESULTS)) {
      const path = join(CNI_RESULTS, name);
      if (readFileSync(path, 'utf8').includes(dir)) rmSync(path, { force: true });
    }
    for (const path of [SHIM_SOCKETS, '/run/containerd', CNI_RESULTS, '/var/lib/cni/cache', '/var/lib/cni']) {
      removeIfEmpty(path);
    }
  }
}

/**
 * Settings for a containerd that is not the machine's own: no AppArmor, no lowering of oom_score_adj (which
 * requires CAP_SYS_RESOURCE), and a snapshotter that works on any file system.
 */
function configuration({ dir, confDir, binDir }: ContainerdOptions, socketPath: string): string {
  return `
version = 2
root = "${dir}/root"
state = "${dir}/state"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "${socketPath}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${IMAGE}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    conf_dir = "${confDir}"
    bin_dir = "${binDir}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
        Root = "${dir}/runc"
`;
}

/** Polls until `holds` returns true; exceptions count as false. Throws after `within` milliseconds. */
export async function until(what: string, holds: () => Promise<boolean>, within = 15_000): Promise<void> {
  let last: unknown;
  for (const end = performance.now() + within; performance.now() < end; await sleep(20)) {
    try {
      if (await holds()) return;
    } catch (error) {
      last = error;
    }
  }
  throw new Error(`${what}: not within ${within} ms`, { cause: last });
}

/** Returns the mounts below a folder, deepest first. */
function mountsBelow(dir: string): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((path) => path.startsWith(`${dir}/`))
    .reverse();
}

/** Returns one path with cgroup v2, one per controller with v1. */
function cgroupPaths(cgroup: string): string[] {
  return ['', ...names(CGROUPS)].map((part) => join(CGROUPS, part, cgroup)).filter(existsSync);
}

function processesBelow(path: string): number[] {
  const own = readFileSync(join(path, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean).map(Number);
  return [...own, ...folders(path).flatMap(processesBelow)];
}

function removeTree(path: string): void {
  for (const child of folders(path)) removeTree(child);
  rmdirSync(path);
}

function folders(path: string): string[] {
  return readdirSync(path, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => join(path, entry.name));
}

function names(path: string): string[] {
  return existsSync(path) ? readdirSync(path) : [];
}

function removeIfEmpty(path: string): void {
  if (existsSync(path) && readdirSync(path).length === 0) rmdirSync(path);
}
