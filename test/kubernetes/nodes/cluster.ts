import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pause } from '../../../src/async/pause.ts';
import type { Family } from '../../../src/ip/address.ts';
import { renderManifest } from '../../../tools/manifest/render.ts';
import { eventually } from '../../store/servers.ts';
import { busyboxArchive } from './archive.ts';
import { component } from './component.ts';
import { ControlPlane } from './control-plane.ts';
import { CNI_BIN, CNI_CONF, KubeletNode } from './node.ts';
import { Switch } from './switch.ts';

const ROOT = join(import.meta.dirname, '../../..');
const NAMESPACE = 'kube-flannel';

export type ClusterOptions = {
  /** net-conf.json. */
  readonly network: object;
  /** The first one is that of Services that want one; default: IPv4 alone. */
  readonly families?: readonly Family[];
  readonly nodes?: number;
  /** Of flatnet: agents come from the manifest, in pods. */
  readonly image?: string;
  /** More of what pods run, for `ctr images import`. */
  readonly archives?: readonly string[];
  /** Files of what the cluster has before its nodes. */
  readonly manifests?: readonly string[];
  /** Gives the nodes another pod network than flatnet. */
  readonly install?: (cluster: KubeletCluster) => Promise<void>;
};

/** What a cluster ends with: a test, or `forSuite()`. `signal` interrupts its start. */
export type Life = { readonly after: (end: () => unknown) => void; readonly signal?: AbortSignal };

/** What the tests want to know of a pod. */
export type Pod = { readonly name: string; readonly node: string; readonly ips: readonly string[] };

type PodList = {
  readonly items: readonly {
    readonly metadata: { readonly name: string };
    readonly spec: { readonly nodeName: string };
    readonly status: { readonly podIPs?: readonly { readonly ip: string }[] };
  }[];
};

/** A Kubernetes of real components, whose pod network is flatnet with the rights that are shipped. */
export class KubeletCluster {
  readonly plane: ControlPlane;
  readonly nodes: readonly KubeletNode[];

  private constructor(plane: ControlPlane, nodes: readonly KubeletNode[]) {
    this.plane = plane;
    this.nodes = nodes;
  }

  /** Returns when all nodes are ready. It ends with the tests, whatever happens. */
  static async start(
    { after, signal }: Life,
    { network, families = [4], nodes = 3, image, archives = [], manifests = [], install }: ClusterOptions,
  ): Promise<KubeletCluster> {
    const hosts = new Switch(families);
    const running: { stop: () => Promise<void> }[] = [];
    const stop = () => running.map((each) => each.stop());
    let interrupted: Promise<unknown> | undefined;
    after(async () => {
      await interrupted;
      await Promise.all(stop());
      await hosts.close();
    });
    // What waits for something of it then fails.
    const interrupt = () => {
      interrupted = Promise.allSettled(stop());
    };
    signal?.addEventListener('abort', interrupt);
    await hosts.open();
    mkdirSync(hosts.folder, { recursive: true });
    const busybox = busyboxArchive(hosts.folder);
    const plane = await ControlPlane.start(hosts, (started) => running.push(started));
    const cluster = new KubeletCluster(plane, []);
    for (const file of manifests) await plane.kubectl('apply', '--server-side', '-f', file);
    if (image === undefined) {
      await plane.kubectl('create', 'namespace', NAMESPACE);
      await plane.kubectl('apply', '-f', join(ROOT, 'deploy/rbac'), '-f', join(ROOT, 'deploy/crds'));
      await cluster.configure(network);
    } else {
      const manifest = join(hosts.folder, 'flatnet.yaml');
      writeFileSync(manifest, renderManifest({ network, cniBinDir: CNI_BIN, cniConfDir: CNI_CONF }));
      await plane.kubectl('apply', '--server-side', '-f', manifest);
    }
    const kubeconfig = await plane.accountKubeconfig(NAMESPACE, 'flatnet');
    signal?.throwIfAborted();
    const setup = {
      network: hosts,
      plane,
      archives: [busybox, ...(image === undefined ? [] : [image]), ...archives],
      kubeconfig,
      ownAgent: image === undefined && install === undefined,
    };
    const machines = Array.from({ length: nodes }, (_, i) => new KubeletNode(setup, i + 1));
    running.unshift(...machines);
    await Promise.all(machines.map((node) => node.boot()));
    signal?.throwIfAborted();
    const whole = new KubeletCluster(plane, machines);
    await install?.(whole);
    await whole.untilReady();
    signal?.removeEventListener('abort', interrupt);
    return whole;
  }

  /** Writes the network configuration. */
  async configure(network: object): Promise<void> {
    await this.plane.apply({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { namespace: NAMESPACE, name: 'kube-flannel-cfg' },
      data: { 'net-conf.json': JSON.stringify(network) },
    });
  }

  async untilReady(): Promise<void> {
    const isReady = (line: string): boolean => / Ready /.test(line);
    await this.until('nodes', (lines) => lines.filter(isReady).length === this.nodes.length);
  }

  /** The prefixes of a node's pods, once it has them. */
  async podCidrs({ name }: KubeletNode): Promise<readonly string[]> {
    const path = 'jsonpath={.spec.podCIDRs[*]}';
    return eventually(async () => {
      const shown = await this.plane.kubectl('get', 'node', name, '--ignore-not-found', '-o', path);
      return shown ? shown.split(' ') : undefined;
    }, 60_000);
  }

  /** The pods with a label `app`, once there are `count`, all ready. */
  async pods(app: string, count: number): Promise<readonly Pod[]> {
    const isUp = (line: string): boolean => / 1\/1 +Running /.test(line);
    await this.until(`pods -l app=${app}`, (lines) => lines.length === count && lines.every(isUp));
    const shown = await this.plane.kubectl('get', 'pods', '-l', `app=${app}`, '-o', 'json');
    const { items } = JSON.parse(shown) as PodList;
    return items.map(({ metadata: { name }, spec, status }) => ({
      name,
      node: spec.nodeName,
      ips: (status.podIPs ?? []).map(({ ip }) => ip),
    }));
  }

  /** Waits until what `kubectl get` shows, a line for each object, is as wanted. */
  async until(what: string, holds: (lines: readonly string[]) => boolean): Promise<void> {
    const deadline = Date.now() + 180_000;
    for (;;) {
      const shown = await this.plane.kubectl('get', ...what.split(' '), '--no-headers', '-o', 'wide');
      if (holds(shown.split('\n').filter(Boolean))) return;
      if (Date.now() > deadline) throw new Error(`${what}:\n${shown}${await this.#warnings()}`);
      await pause(500);
    }
  }

  async #warnings(): Promise<string> {
    return this.plane.kubectl('get', 'events', '-A', '--field-selector=type!=Normal');
  }

  node(name: string): KubeletNode {
    const node = this.nodes.find((each) => each.name === name);
    if (!node) throw new Error(`there is no ${name}`);
    return node;
  }

  /** Runs flatnet as an administrator, from outside. */
  flatnet(...args: readonly string[]): Promise<string> {
    const kubeconfig = this.plane.kubeconfig('admin', 'system:masters');
    return this.plane.outside(join(ROOT, 'bin/flatnet'), ...args, '--kubeconfig', kubeconfig);
  }

  /** Runs kubectl with its plugin on the PATH. */
  kubectlFlatnet(...args: readonly string[]): Promise<string> {
    const path = [join(ROOT, 'bin'), dirname(component('kubectl')), process.env.PATH].join(':');
    const kubeconfig = this.plane.kubeconfig('admin', 'system:masters');
    const env = ['env', `PATH=${path}`, `KUBECONFIG=${kubeconfig}`];
    return this.plane.outside(...env, component('kubectl'), 'flatnet', ...args);
  }

  /** Runs a command in a pod by way of the API server and the kubelet. */
  exec(pod: string, ...argv: readonly string[]): Promise<string> {
    return this.plane.kubectl('exec', pod, '--', ...argv);
  }
}
