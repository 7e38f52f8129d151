import { rmSync } from 'node:fs';
import type { AgentStatus } from '../agent/status.ts';
import { codeOf, FlatnetError, messageOf } from '../error.ts';
import { forgetNode } from '../ipam/blocks/forget-node.ts';
import { netnsPath } from '../linux/netns.ts';
import { nodeResources } from './bgp/plan.ts';
import { updateTors } from './bgp/tor.ts';
import { agentProcess, agentReady, startAgent, stopAgent } from './machine/agent.ts';
import { killInside } from './machine/kill-inside.ts';
import { sessionsEstablished } from './machine/sessions.ts';
import { publishResources, withStore } from './machine/store.ts';
import { createNode, deleteNode, setCable } from './machine/underlay.ts';
import { freeIndex, subnetOfNode } from './machine/underlay-plan.ts';
import { deletePod } from './pods/pod.ts';
import { readPods } from './pods/record.ts';
import { converge } from './pods/workloads.ts';
import { Lab, labFlag } from './record/lab.ts';
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

/**
 * Reconnects the node and starts its agent, if it is not running; resolves when the agent is ready and runs
 * the pods that waited for it.
 */
export async function startNode(labName: string, name: string, signal?: AbortSignal): Promise<AgentStatus> {
  return whenReady(await Lab.change(labName, (lab) => begin(lab, name)), name, signal);
}

/** Stops the node's agent and starts it again; resolves when it is ready. */
export async function restartNode(
  labName: string,
  name: string,
  how: StopHow,
  signal?: AbortSignal,
): Promise<AgentStatus> {
  const lab = await Lab.change(labName, async (lab) => {
    await stopNode(lab, name, how);
    return begin(lab, name);
  });
  return whenReady(lab, name, signal);
}

async function begin(lab: Lab, name: string): Promise<Lab> {
  await setCable(lab.name, lab.node(name), true);
  if (!agentProcess(lab, name)) await startAgent(lab, name);
  return lab;
}

/**
 * Waits without the lab's lock: what a node waits for may be another command's work. Without the store, for
 * example, no agent becomes ready until `lab store start`.
 */
async function whenReady(lab: Lab, name: string, signal?: AbortSignal): Promise<AgentStatus> {
  const status = await agentReady(lab, name, signal);
  await Lab.change(lab.name, converge);
  return status;
}

export type AddOptions = {
  /** Default: node<n>. */
  readonly name?: string;
  /** By default, nodes are assigned to the subnets in turn. */
  readonly subnet?: number;
  readonly signal?: AbortSignal;
};

/** Adds a node; resolves when it can take pods. If that fails, removes it again. */
export async function addNode(labName: string, { signal, ...options }: AddOptions): Promise<LabNode> {
  const [lab, node] = await Lab.change(labName, async (lab) => [lab, await createAndStart(lab, options)]);
  try {
    await agentReady(lab, node.name, signal);
    await sessionsEstablished(lab, [node.name], signal);
  } catch (error) {
    await Lab.change(labName, (now) => undo(now, node, error));
    throw error;
  }
  await Lab.change(labName, converge);
  return node;
}

async function createAndStart(lab: Lab, options: Omit<AddOptions, 'signal'>): Promise<LabNode> {
  const node = newNode(lab, options);
  // Recorded first: whatever interrupts the rest, `node delete` and `down` know of it.
  lab.update({ nodes: [...lab.nodes, node].sort((a, b) => a.index - b.index) });
  try {
    await createNode(lab.name, node, lab.network.physical !== undefined);
    await publishResources(lab, nodeResources(lab.state.bgp, node));
    await updateTors(lab);
    await startAgent(lab, node.name);
    return node;
  } catch (error) {
    await undo(lab, node, error);
    throw error;
  }
}

/** Throws NAME_INVALID, NAME_TAKEN, USAGE. */
function newNode({ name: labName, nodes, state }: Lab, options: Omit<AddOptions, 'signal'>): LabNode {
  const index = freeIndex(nodes.map((node) => node.index));
  const name = nodeName(labName, options.name ?? `node${index}`);
  if (nodes.some((node) => node.name === name)) {
    throw new FlatnetError(`node '${name}' already exists`, {
      code: 'NAME_TAKEN',
      operation: 'node add',
      fix: 'choose another name',
    });
  }
  const { subnets } = state;
  const subnet = options.subnet ?? subnetOfNode(index, subnets);
  if (subnet >= subnets) {
    throw new FlatnetError(`the underlay has no subnet ${subnet}`, {
      code: 'USAGE',
      object: '--subnet',
      fix: `subnets are numbered from 0 to ${subnets - 1}`,
    });
  }
  return { name, index, subnet };
}

/** Removes a node that did not come up because of `reason`. Throws LAB_INCOMPLETE if it cannot. */
async function undo(lab: Lab, node: LabNode, reason: unknown): Promise<void> {
  // Another command may have deleted it.
  if (!lab.nodes.some(({ name }) => name === node.name)) return;
  try {
    await removeNode(lab, node);
  } catch (error) {
    throw new FlatnetError(`${messageOf(reason)}; then removing the node failed: ${messageOf(error)}`, {
      code: 'LAB_INCOMPLETE',
      operation: 'node add',
      object: node.name,
      fix: `remove it: flatnet lab node delete ${node.name}${labFlag(lab.name)}`,
      cause: reason,
    });
  }
}

/**
 * Removes the node for good, even if it is only partly there: its pods, its lease or blocks, its BIRD, its
 * namespace.
 */
export async function deleteNodeForGood(lab: Lab, name: string): Promise<void> {
  const node = lab.node(name);
  for (const pod of readPods(lab)) if (pod.node === name) await deletePod(lab, pod);
  await removeNode(lab, node);
}

async function removeNode(lab: Lab, node: LabNode): Promise<void> {
  await stopAgent(lab, node.name, 'stop');
  // An agent whose start was interrupted is in no file, but in the namespace.
  await killInside(netnsPath(netnsOf(lab.name, node.name)));
  await forget(lab, node.name);
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
