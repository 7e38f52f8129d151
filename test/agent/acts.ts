import type { Node } from '../../src/cluster/node.ts';
import { startAgent, stopAgent } from '../../src/lab/machine/agent.ts';
import { startStore, stopStore } from '../../src/lab/machine/store.ts';
import type { Cluster, TestNode } from './cluster.ts';
import { Foreigners } from './foreigners.ts';
import { KERNEL_FAULTS } from './kernel-faults.ts';
import { deleteForeign, putForeign } from './leases.ts';
import type { Random } from './random.ts';
import { releaseLease } from './release-lease.ts';
import { killStore, watchGap } from './store-faults.ts';

/** One event in a cluster's life. */
export type Act = { readonly name: string; readonly run: () => void | Promise<void> };

const MAX_NODES = 5;
const MOST_PODS = 3;
const MOST_FOREIGN = 6;

/** Chooses the next event from a seed, endlessly, among those possible at the moment. */
export class Fate {
  readonly #cluster: Cluster;
  readonly #random: Random;
  readonly #foreigners: Foreigners;

  constructor(cluster: Cluster, random: Random) {
    this.#cluster = cluster;
    this.#random = random;
    this.#foreigners = new Foreigners(cluster);
  }

  /** Runs a step: some acts, often while an agent or the store is down. */
  async step(report: (name: string) => void): Promise<void> {
    const random = this.#random;
    const choice = random.next();
    if (choice < 0.5) await this.#some(1, 3, {}, report);
    else if (choice < 0.75) await this.#whileAgentIsDown(report);
    else if (choice < 0.9) await this.#whileStoreIsDown(report);
    else await this.#duringWatchGap(report);
  }

  async #whileAgentIsDown(report: (name: string) => void): Promise<void> {
    const node = this.#node();
    const how = this.#random.pick(['stop', 'kill'] as const);
    report(`agent of ${node.name}: ${how} {`);
    await stopAgent(this.#cluster.lab, node.name, how);
    await this.#some(0, 3, { agentDown: node }, report);
    report('} agent started');
    await startAgent(this.#cluster.lab, node.name);
  }

  async #whileStoreIsDown(report: (name: string) => void): Promise<void> {
    const how = this.#random.pick(['stop', 'kill'] as const);
    report(`store: ${how} {`);
    if (how === 'stop') await stopStore(this.#cluster.lab);
    else await killStore(this.#cluster);
    await this.#some(0, 3, { storeDown: true }, report);
    report('} store started');
    await startStore(this.#cluster.lab);
  }

  async #duringWatchGap(report: (name: string) => void): Promise<void> {
    report('watch gap {');
    await watchGap(this.#cluster, async () => {
      for (let i = 1 + this.#random.int(3); i > 0; ) {
        const act = foreign(this.#cluster, this.#random, {}, this);
        if (!act) continue;
        report(act.name);
        await act.run();
        i--;
      }
      await this.#some(0, 2, { storeDown: true }, report);
    });
    report('}');
  }

  async #some(least: number, most: number, state: State, report: (name: string) => void): Promise<void> {
    const many = least + this.#random.int(most - least + 1);
    for (let i = 0; i < many; i++) {
      const act = this.#choose(state);
      report(act.name);
      await act.run();
    }
  }

  #choose(state: State): Act {
    for (;;) {
      const act = this.#random.pick(KINDS)(this.#cluster, this.#random, state, this);
      if (act) return act;
    }
  }

  #node(): TestNode {
    return this.#random.pick([...this.#cluster.nodes.values()]);
  }

  foreignNode(was?: Node): Node {
    const fresh = this.#foreigners.create();
    const keep = (): boolean => this.#random.chance(0.5);
    if (!was) return fresh;
    return {
      ...fresh,
      ...(keep() && { subnets: was.subnets }),
      ...(keep() && { addresses: was.addresses }),
      ...(keep() && { backend: was.backend }),
    };
  }
}

type State = { readonly agentDown?: TestNode; readonly storeDown?: boolean };
type Kind = (cluster: Cluster, random: Random, state: State, fate: Fate) => Act | undefined;

/** Nodes whose agent is running and has joined. */
function working(cluster: Cluster, state: State): TestNode[] {
  return [...cluster.nodes.values()].filter((node) => node !== state.agentDown && node.subnets !== undefined);
}

const kernelFault: Kind = (cluster, random) => {
  const nodes = [...cluster.nodes.values()].filter(({ subnets }) => subnets);
  if (nodes.length === 0) return undefined;
  const node = random.pick(nodes);
  const name = random.pick(Object.keys(KERNEL_FAULTS));
  const run = KERNEL_FAULTS[name]?.(cluster, node, random);
  return run && { name: `${node.name}: ${name}`, run: () => attempt(run) };
};

/** Ignores failures: an earlier fault may have left nothing to break. */
async function attempt(run: () => void | Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    if (!(error instanceof Error && 'stderr' in error)) throw error;
  }
}

const addPod: Kind = (cluster, random, state) => {
  const nodes = working(cluster, state).filter(({ pods }) => pods.length < MOST_PODS);
  if (nodes.length === 0) return undefined;
  const node = random.pick(nodes);
  return { name: `${node.name}: pod added`, run: () => cluster.wantPod(node) };
};

const deletePod: Kind = (cluster, random) => {
  const nodes = [...cluster.nodes.values()].filter(({ pods }) => pods.length > 1);
  if (nodes.length === 0) return undefined;
  const node = random.pick(nodes);
  const pod = random.pick(node.pods);
  return { name: `${node.name}: pod ${pod.record.name} deleted`, run: () => cluster.deletePod(node, pod) };
};

const restart: Kind = (cluster, random, state) => {
  const node = random.pick([...cluster.nodes.values()]);
  if (node === state.agentDown) return undefined;
  const how = random.pick(['stop', 'kill'] as const);
  return {
    name: `${node.name}: agent ${how} and start`,
    run: async () => {
      await stopAgent(cluster.lab, node.name, how);
      await startAgent(cluster.lab, node.name);
    },
  };
};

const moveAddress: Kind = (cluster, random) => {
  const node = random.pick([...cluster.nodes.values()]);
  const gap = random.pick([undefined, 0, 50, 400]);
  return {
    name: `${node.name}: underlay address changed, gap ${gap}`,
    run: () => cluster.moveAddress(node, gap),
  };
};

const changeMtu: Kind = (cluster, random) => {
  const node = random.pick([...cluster.nodes.values()]);
  const mtu = random.pick([1500, 1400, 9000]);
  return { name: `${node.name}: underlay MTU ${mtu}`, run: () => cluster.setMtu(node, mtu) };
};

const addNode: Kind = (cluster, random) => {
  if (cluster.nodes.size >= MAX_NODES) return undefined;
  const pods = 1 + random.int(2);
  return { name: `node added`, run: async () => void (await cluster.addNode(pods)) };
};

const removeNode: Kind = (cluster, random, state) => {
  if (cluster.nodes.size <= 2 || state.storeDown) return undefined;
  const node = random.pick([...cluster.nodes.values()]);
  if (node === state.agentDown) return undefined;
  return { name: `${node.name}: removed`, run: () => cluster.removeNode(node) };
};

const returnNode: Kind = (cluster, random, state) => {
  const node = random.pick([...cluster.nodes.values()]);
  if (node === state.agentDown) return undefined;
  const keep = random.chance(0.3);
  const pods = node.pods.length;
  return {
    name: `${node.name}: lost power, returned${keep ? '' : ' with another address'}`,
    run: async () => {
      await cluster.returnNode(node, keep);
      node.wantedPods = pods;
    },
  };
};

/** A node away for so long that its lease expired and a flannel node got its subnets. */
const returnToAnotherSubnet: Kind = (cluster, random, state, fate) => {
  const nodes = working(cluster, state);
  if (state.storeDown || nodes.length === 0 || cluster.foreign.size >= MOST_FOREIGN) return undefined;
  const node = random.pick(nodes);
  const { subnets = [] } = node;
  return {
    name: `${node.name}: lost power and lease, returned to find its subnets taken`,
    run: async () => {
      const pods = node.wantedPods;
      await stopAgent(cluster.lab, node.name, 'kill');
      await cluster.loseMemory(node);
      await cluster.endLease(node);
      await putForeign(cluster, { ...fate.foreignNode(), subnets });
      await cluster.returnNode(node, random.chance(0.5));
      node.wantedPods = pods;
    },
  };
};

const loseKeys: Kind = (cluster, random, state) => {
  const nodes = working(cluster, state);
  if (state.storeDown || nodes.length === 0) return undefined;
  const node = random.pick(nodes);
  return {
    name: `${node.name}: its keys deleted from the store`,
    run: () => releaseLease(cluster.lab, node.name),
  };
};

const foreign: Kind = (cluster, random, state, fate) => {
  if (state.storeDown) return undefined;
  const all = [...cluster.foreign.values()];
  const choice = random.int(3);
  if (choice === 0 && all.length < MOST_FOREIGN) {
    const node = fate.foreignNode();
    return { name: `foreign ${node.name} joined`, run: () => putForeign(cluster, node) };
  }
  if (all.length === 0) return undefined;
  const was = random.pick(all);
  if (choice === 1) return { name: `foreign ${was.name} left`, run: () => deleteForeign(cluster, was) };
  const node = fate.foreignNode(was);
  return { name: `foreign ${was.name} changed`, run: () => putForeign(cluster, node, was) };
};

const KINDS: readonly Kind[] = [
  kernelFault,
  kernelFault,
  kernelFault,
  kernelFault,
  kernelFault,
  addPod,
  addPod,
  deletePod,
  restart,
  moveAddress,
  changeMtu,
  addNode,
  removeNode,
  returnNode,
  returnToAnotherSubnet,
  loseKeys,
  foreign,
  foreign,
];
