import { forEachLimited } from '../async/each.ts';
import { configuredBackend } from '../backends/registry.ts';
import { type Network, networkToNetConf } from '../cluster/network.ts';
import { COMPANIONS } from '../companions/registry.ts';
import { FlatnetError, messageOf } from '../error.ts';
import type { Family } from '../ip/address.ts';
import { listNetns } from '../linux/netns.ts';
import { bgpResources } from './bgp/plan.ts';
import { checkTopology } from './bgp/topology.ts';
import { requireTor, startTors } from './bgp/tor.ts';
import { familiesOf } from './bgp/tor-config.ts';
import { down } from './down.ts';
import { agentReady, startAgent } from './machine/agent.ts';
import { requireKernel } from './machine/kernel-features.ts';
import { enterMachine } from './machine/limits.ts';
import { requirePlugins, requirePodPrograms } from './machine/programs.ts';
import { sessionsEstablished, sessionsOfLab } from './machine/sessions.ts';
import { publishNetwork, publishResources, startStore } from './machine/store.ts';
import { createNode, createTors, createUnderlay, kernelFamilies } from './machine/underlay.ts';
import { MAX_NODES, MAX_SUBNETS, subnetOfNode } from './machine/underlay-plan.ts';
import { checkNetwork } from './network.ts';
import { incomplete, Lab, labFlag, labNames, readState, requireRoot } from './record/lab.ts';
import { withLock } from './record/lock.ts';
import { labName, netnsOf, nodeName } from './record/names.ts';
import type { BgpTopology, LabNode } from './record/topology.ts';

export type UpOptions = {
  readonly name: string;
  /** Number of nodes; they are named node1, node2, … */
  readonly nodes: number;
  /** Number of underlay subnets, with a router between them. */
  readonly subnets: number;
  readonly network: Network;
  /** Default: the node-to-node mesh. */
  readonly bgp?: BgpTopology;
  /** After a failure, leave everything in place for inspection. */
  readonly keep?: boolean;
  /** Receives a text for each step. */
  readonly progress?: (text: string) => void;
  readonly signal?: AbortSignal;
};

/** Agents started concurrently: more would only compete for the processor. */
const CONCURRENT_STARTS = 8;

/**
 * Starts a lab; returns when every agent is ready. Checks all it can before it creates anything, and removes
 * everything again if it fails later. Throws LAB_EXISTS, LAB_INCOMPLETE, NOT_ROOT, KERNEL_FEATURE,
 * CONFIG_INVALID, NAME_INVALID, USAGE, and BIRD if BIRD is needed but missing.
 */
export async function up(options: UpOptions): Promise<Lab> {
  const { name, subnets, network, bgp = {}, signal, progress = () => {} } = options;
  labName(name);
  const nodes = planNodes(name, options.nodes, subnets);
  configuredBackend(network);
  checkNetwork(network, options.nodes);
  if (network.physical && subnets > 1) {
    throw new FlatnetError(
      `${subnets} is too many: with ${network.wiring}, pods and nodes share one network`,
      {
        code: 'USAGE',
        object: '--subnets',
        fix: 'drop it',
      },
    );
  }
  checkTopology(options);
  requireRoot();
  requireFamilies(network);
  requirePlugins();
  requirePodPrograms();
  await COMPANIONS.find(({ backend }) => backend === network.backend.type)?.requirePrograms?.();
  if (bgp.tor) await requireTor(bgp.tor);
  return withLock(name, async () => {
    refuseExisting(name);
    try {
      const refused = await enterMachine(name);
      for (const text of refused) progress(`warning: a large lab may hit a limit: ${text}`);
      requireKernel(network, name);
      const lab = Lab.create({
        name,
        created: new Date().toISOString(),
        subnets,
        network: JSON.parse(networkToNetConf(network)),
        nodes,
        bgp,
      });
      await build(lab, progress, signal);
      lab.update({ phase: 'up' });
      return lab;
    } catch (error) {
      if (!options.keep) await cleanUp(name, error);
      if (signal?.aborted) throw interrupted(messageOf(error), name, options.keep === true);
      throw error;
    }
  });
}

async function build(
  lab: Lab,
  progress: (text: string) => void,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { nodes, state, network } = lab;
  progress(`underlay: ${counted(state.subnets, 'subnet')} and a router`);
  const isShared = network.physical !== undefined;
  await createUnderlay(lab.name, state.subnets, isShared);
  if (state.bgp.tor) await createTors(lab.name, state.subnets);
  for (const node of nodes) await createNode(lab.name, node, isShared);
  progress('store');
  await startStore(lab);
  await publishNetwork(lab);
  await publishResources(lab, bgpResources(state.bgp, nodes, state.subnets, familiesOf(network)));
  await startTors(lab);
  let ready = 0;
  progress(`agents: 0 of ${nodes.length} ready`);
  await forEachLimited(CONCURRENT_STARTS, nodes, async (node) => {
    signal?.throwIfAborted();
    await startAgent(lab, node.name);
    await agentReady(lab, node.name, signal);
    progress(`agents: ${++ready} of ${nodes.length} ready`);
  });
  const sessions = sessionsOfLab(lab);
  if (sessions) progress(`${sessions.name} sessions`);
  const names = nodes.map(({ name }) => name);
  await sessionsEstablished(lab, names, signal);
}

function interrupted(reason: string, name: string, kept: boolean): FlatnetError {
  return new FlatnetError(reason, {
    code: 'INTERRUPTED',
    fix: kept
      ? `remove the incomplete lab: flatnet lab down${labFlag(name)}`
      : 'the incomplete lab has been removed',
  });
}

async function cleanUp(name: string, reason: unknown): Promise<void> {
  try {
    await down(name, { locked: true });
  } catch (error) {
    throw new FlatnetError(`${messageOf(reason)}; then removing the lab failed: ${messageOf(error)}`, {
      code: 'LAB_INCOMPLETE',
      operation: 'lab up',
      object: name,
      cause: reason,
    });
  }
}

function planNodes(lab: string, count: number, subnets: number): LabNode[] {
  checkCount('--nodes', count, MAX_NODES);
  checkCount('--subnets', subnets, MAX_SUBNETS);
  return Array.from({ length: count }, (_, i) => {
    const index = i + 1;
    return { name: nodeName(lab, `node${index}`), index, subnet: subnetOfNode(index, subnets) };
  });
}

function checkCount(option: string, value: number, most: number): void {
  if (Number.isInteger(value) && value >= 1 && value <= most) return;
  throw new FlatnetError(`${value} is not a whole number from 1 to ${most}`, {
    code: 'USAGE',
    object: option,
  });
}

function refuseExisting(name: string): void {
  const state = readState(name);
  if (state?.phase === 'up') {
    const option = labFlag(name);
    throw new FlatnetError(`lab '${name}' is already up`, {
      code: 'LAB_EXISTS',
      fix: `inspect it: flatnet lab status${option}; remove it: flatnet lab down${option}`,
    });
  }
  const names = listNetns();
  const leftover = [netnsOf(name, 'underlay'), netnsOf(name, 'router')].some((each) => names.includes(each));
  if (state || leftover || labNames().includes(name)) throw incomplete(name);
}

function requireFamilies(network: Network): void {
  const missing = Object.keys(network.pools)
    .map((family) => Number(family) as Family)
    .filter((family) => !kernelFamilies().includes(family));
  if (missing.length === 0) return;
  throw new FlatnetError(`the network uses IPv${missing.join(' and IPv')}, which this kernel lacks`, {
    code: 'KERNEL_FEATURE',
    fix: 'boot the kernel without ipv6.disable=1, or use an IPv4-only network',
  });
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
