import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { agentReady, startAgent, stopAgent } from '../../src/lab/machine/agent.ts';
import type { Lab } from '../../src/lab/record/lab.ts';
import { netnsOf } from '../../src/lab/record/names.ts';
import { netnsPath } from '../../src/linux/netns.ts';
import { IMAGE } from './busybox-image.ts';
import { CNI_RESULTS, Containerd, until } from './containerd.ts';
import { SANDBOX_READY, type SandboxConfig } from './cri.ts';
import { ip } from './host.ts';

export type CriPod = { readonly id: string; readonly config: SandboxConfig; readonly ips: readonly string[] };

/** A node of a lab with its own containerd, driven as by a kubelet. */
export class CriNode implements AsyncDisposable {
  readonly lab: Lab;
  readonly name: string;
  readonly containerd: Containerd;
  readonly #dir: string;

  private constructor(lab: Lab, name: string, dir: string, containerd: Containerd) {
    this.lab = lab;
    this.name = name;
    this.containerd = containerd;
    this.#dir = dir;
  }

  /** `base`: a folder that is removed when the test ends. */
  static async start(lab: Lab, name: string, base: string): Promise<CriNode> {
    const { cniConf, cniBin } = lab.paths.node(name).agent;
    const dir = join(base, name);
    const netns = netnsPath(netnsOf(lab.name, name));
    const folders = { dir, confDir: cniConf, binDir: cniBin };
    const containerd = await Containerd.start({ ...folders, netns, cgroup: `${lab.name}-${name}` });
    return new CriNode(lab, name, dir, containerd);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.containerd[Symbol.asyncDispose]();
  }

  async killAgent(): Promise<void> {
    await stopAgent(this.lab, this.name, 'kill');
  }

  async startAgent(): Promise<void> {
    await startAgent(this.lab, this.name);
    await agentReady(this.lab, this.name);
  }

  async run(name: string, more: SandboxConfig = {}): Promise<CriPod> {
    const { cri } = this.containerd;
    const config = this.containerd.config(name, more);
    const { pod_sandbox_id: id } = await cri.call('RunPodSandbox', { config });
    const { status } = await cri.call('PodSandboxStatus', { pod_sandbox_id: id });
    const { ip = '', additional_ips: others = [] } = status?.network ?? {};
    return { id, config, ips: [ip, ...others.map((each) => each.ip)] };
  }

  async isReady({ id }: CriPod): Promise<boolean> {
    const { status } = await this.containerd.cri.call('PodSandboxStatus', { pod_sandbox_id: id });
    return status?.state === SANDBOX_READY;
  }

  async stop({ id }: Pick<CriPod, 'id'>): Promise<void> {
    await this.containerd.cri.call('StopPodSandbox', { pod_sandbox_id: id });
  }

  /** Removes a stopped pod; does nothing if it is already gone. */
  async forget({ id }: Pick<CriPod, 'id'>): Promise<void> {
    await this.containerd.cri.call('RemovePodSandbox', { pod_sandbox_id: id });
  }

  async remove(pod: Pick<CriPod, 'id'>): Promise<void> {
    await this.stop(pod);
    await this.forget(pod);
  }

  async list(): Promise<readonly Pick<CriPod, 'id'>[]> {
    return (await this.containerd.cri.call('ListPodSandbox', {})).items;
  }

  /** Starts a container in the pod and returns its ID. Without a command it sleeps. */
  async addContainer(pod: CriPod, name: string, ...command: string[]): Promise<string> {
    const { cri } = this.containerd;
    const container = await cri.call('CreateContainer', {
      pod_sandbox_id: pod.id,
      config: { metadata: { name }, image: { image: IMAGE }, command },
      sandbox_config: pod.config,
    });
    await cri.call('StartContainer', container);
    return container.container_id;
  }

  /** Runs a command in a container and returns its output. Throws if it fails. */
  async exec(container: string, ...cmd: string[]): Promise<string> {
    const answer = await this.containerd.cri.call('ExecSync', { container_id: container, cmd, timeout: 10 });
    if (answer.exit_code === 0) return answer.stdout.toString();
    throw new Error(`${cmd.join(' ')} ended with ${answer.exit_code}: ${answer.stderr}${answer.stdout}`);
  }

  /**
   * Returns everything pods can leave behind: veths, reservations, records, recorded DELs, the runtime's
   * cache and namespaces.
   */
  leftovers(): string[] {
    const { cniData, state } = this.lab.paths.node(this.name).agent;
    const links = ip(netnsOf(this.lab.name, this.name), 'link').map((link) => link.ifname);
    const files = [cniData, state].flatMap(filesBelow);
    const cached = filesBelow(CNI_RESULTS).filter((name) =>
      readFileSync(join(CNI_RESULTS, name), 'utf8').includes(this.#dir),
    );
    const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
    return [
      ...links.filter((name) => name.startsWith('veth')),
      ...files.filter((name) => !LASTING.test(name)),
      ...cached,
      ...mounts.filter((line) => line.includes(` ${this.#dir}/`)),
    ];
  }

  /** Waits until there are no `leftovers`; deleted links disappear a moment later. */
  async isClean(): Promise<void> {
    await until(`nothing is left on ${this.name}`, async () => this.leftovers().length === 0, 3000).catch(
      () => {
        throw new Error(`left on ${this.name}: ${this.leftovers().join('\n')}`);
      },
    );
  }
}

/** Also what a killed agent did not come to put in place: reservations, swept a minute later, and files. */
const LASTING =
  /^(last_reserved_ip\.\d|lock|view\.json|tunnel-macs\.json|spare\.\d+|\.spare-.+|\.reserve-.+|.+\.\d+\.new)$/;

function filesBelow(dir: string): string[] {
  if (!existsSync(dir)) return [];
  const entries = readdirSync(dir, { recursive: true, withFileTypes: true });
  return entries.flatMap((entry) => (entry.isFile() ? [entry.name] : []));
}
