import { join } from 'node:path';
import { AGENT_SOCKET, type Paths } from '../../agent/options.ts';

export const RUN = '/run/flatnet';
export const LABS = join(RUN, 'labs');

/** All paths of a lab, except its namespaces in /run/netns. */
export class LabPaths {
  readonly root: string;

  constructor(lab: string) {
    this.root = join(LABS, lab);
  }

  get state(): string {
    return join(this.root, 'lab.json');
  }

  get storeSocket(): string {
    return join(this.root, 'store.sock');
  }

  get storeData(): string {
    return join(this.root, 'store.db');
  }

  get storeLog(): string {
    return join(this.root, 'store.log');
  }

  get storeProcess(): string {
    return join(this.root, 'store.pid');
  }

  /** busybox under the names of its applets, for containers of its image. */
  get applets(): string {
    return join(this.root, 'busybox');
  }

  get nodes(): string {
    return join(this.root, 'nodes');
  }

  get pods(): string {
    return join(this.root, 'pods');
  }

  get workloads(): string {
    return join(this.root, 'workloads');
  }

  get namespaces(): string {
    return join(this.root, 'namespaces.json');
  }

  node(name: string): NodePaths {
    return new NodePaths(join(this.nodes, name));
  }

  /** Configuration, log and socket of a top-of-rack router. */
  tor(name: string): string {
    return join(this.root, 'tors', name);
  }

  pod(namespace: string, name: string): string {
    return join(this.pods, namespace, name);
  }
}

export class NodePaths {
  readonly root: string;

  constructor(root: string) {
    this.root = root;
  }

  get agentConfig(): string {
    return join(this.root, 'agent.json');
  }

  get agentLog(): string {
    return join(this.root, 'agent.log');
  }

  get agentProcess(): string {
    return join(this.root, 'agent.pid');
  }

  get agentSocket(): string {
    return join(this.agent.run, AGENT_SOCKET);
  }

  /** State that the node's container runtime keeps between ADD and DEL. */
  get runtimeCache(): string {
    return join(this.root, 'cni-cache');
  }

  get agent(): Paths {
    return {
      run: join(this.root, 'run'),
      state: join(this.root, 'state'),
      subnetFile: join(this.root, 'subnet.env'),
      cniConf: join(this.root, 'net.d'),
      cniBin: join(this.root, 'cni-bin'),
      cniData: join(this.root, 'cni-data'),
    };
  }
}
