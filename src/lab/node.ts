import { rmSync } from 'node:fs';
import type { AgentStatus } from '../agent/status.ts';
import { codeOf, FlatnetError } from '../error.ts';
import { forgetNode } from '../ipam/blocks/forget-node.ts';
import { netnsId, netnsPath } from '../linux/netns.ts';
import { allProcesses, ancestors, killNow } from '../linux/process.ts';
import { nodeResources } from './bgp/plan.ts';
import { sessionsEstablished } from './bgp/sessions.ts';
import { updateTors } from './bgp/tor.ts';
import { agentProcess, agentReady, startAgent, stopAgent } from './machine/agent.ts';
import { publishResources, withStore } from './machine/store.ts';
import { createNode, deleteNode, setCable } from './machine/underlay.ts';
import { freeIndex, subnetOfNode } from './machine/underlay-plan.ts';
import { deletePod } from './pods/pod.ts';
import { readPods } from './pods/record.ts';
import type { Lab } from './record/lab.ts';
import { netnsOf, nodeName } from './record/names.ts';
import type { LabNode } from './record/topology.ts';

/**
 * `stop`: SIGTERM to the agent; `kill`: SIGKILL; the data path stays in both cases. `power`: agent killed and
 * link down, as in a power failure.
 */
export type StopHow = 'stop' | 'kill' | 'power';

export async function stopNode(lab: Lab, name: string, how: StopHow): Promise<void> {
  const node = lab.node(name);
  if (how === 'power') await setCable(lab.name, node, false);
  await stopAgent(lab, name, how === 'stop' ? 'stop' : 'kill');
}

/** Reconnects the node and starts its agent, if it is not running; resolves when the agent is ready. */
export async function startNode(lab: Lab, name: string, signal?: AbortSignal): Promise<AgentStatus> {
  const node = lab.node(name);
  await setCable(lab.name, node, true);
  if (!agentProcess(lab, name)) await startAgent(lab, name);
  return agentReady(lab, name, signal);
}

/** Adds a node. The default name is node<n>; by default, nodes are assigned to the subnets in turn. */
export async function addNode(
  lab: Lab,
  options: { readonly name?: string; readonly subnet?: number; readonly signal?: AbortSignal },
): Promise<LabNode> {
  const index = freeIndex(lab.nodes.map((node) => node.index));
  const name = nodeName(lab.name, options.name ?? `node${index}`);
  if (lab.nodes.some((node) => node.name === name)) {
    throw new FlatnetError(`node '${name}' already exists`, {
      code: 'NAME_TAKEN',
      operation: 'node add',
      fix: 'choose another name',
    });
  }
  const { subnets } = lab.state;
  const subnet = options.subnet ?? subnetOfNode(index, subnets);
  if (subnet >= subnets) {
    throw new FlatnetError(`the underlay has no subnet ${subnet}`, {
      code: 'USAGE',
      object: '--subnet',
      fix: `subnets are numbered from 0 to ${subnets - 1}`,
    });
  }
  const node = { name, index, subnet };
  lab.update({ nodes: [...lab.nodes, node].sort((a, b) => a.index - b.index) });
  try {
    await createNode(lab.name, node);
    await publishResources(lab, nodeResources(lab.state.bgp, node));
    await updateTors(lab);
    await startAgent(lab, name);
    await agentReady(lab, name, options.signal);
    await sessionsEstablished(lab, [name], options.signal);
    return node;
  } catch (error) {
    await removeNode(lab, node);
    throw error;
  }
}

/** Removes the node for good: its pods, its lease or blocks, its BIRD, its namespace. */
export async function deleteNodeForGood(lab: Lab, name: string): Promise<void> {
  const node = lab.node(name);
  for (const pod of readPods(lab)) if (pod.node === name) await deletePod(lab, pod);
  await removeNode(lab, node);
}

async function removeNode(lab: Lab, node: LabNode): Promise<void> {
  await stopAgent(lab, node.name, 'stop');
  await forget(lab, node.name);
  await killInside(netnsPath(netnsOf(lab.name, node.name)));
  await deleteNode(lab.name, node);
  rmSync(lab.paths.node(node.name).root, { recursive: true, force: true });
  lab.update({ nodes: lab.nodes.filter((each) => each.name !== node.name) });
  await updateTors(lab);
}

/** Like `flatnet forget --force`: the agent has only just stopped, so its lease is still valid. */
async function forget(lab: Lab, node: string): Promise<void> {
  try {
    await withStore(lab, (store) => forgetNode(store, node, { force: true }));
  } catch (error) {
    if (codeOf(error) !== 'NOT_FOUND') throw error;
  }
}

/** Kills all processes in a namespace: a forgotten tcpdump would keep the namespace alive. */
async function killInside(netns: string): Promise<void> {
  const id = netnsId(netns);
  const spared = ancestors();
  await killNow([...allProcesses()].filter((each) => each.netnsId === id && !spared.has(each.pid)));
}
