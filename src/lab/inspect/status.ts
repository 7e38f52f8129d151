import type { AgentStatus } from '../../agent/status.ts';
import type { Network } from '../../cluster/network.ts';
import type { Sessions } from '../../companions/companion.ts';
import type { WithSessions } from '../../companions/registry.ts';
import { messageOf } from '../../error.ts';
import type { Family } from '../../ip/address.ts';
import { type BlockUsage, usage } from '../../ipam/blocks/usage.ts';
import { listNetns } from '../../linux/netns.ts';
import { problemText } from '../../problem.ts';
import type { Member } from '../../store/ports/membership.ts';
import { torProblems } from '../bgp/tor.ts';
import { familiesOf } from '../bgp/tor-config.ts';
import { agentProcess, agentStatus } from '../machine/agent.ts';
import { sessionsOfLab, sessionsOfNode } from '../machine/sessions.ts';
import { storeProcess, withStore } from '../machine/store.ts';
import { fullName, type PodStatus, podStatus, readPods } from '../pods/record.ts';
import { plan } from '../pods/workloads.ts';
import { type Lab, labFlag } from '../record/lab.ts';
import { netnsOf } from '../record/names.ts';

export type NodeStatus = {
  readonly name: string;
  readonly netns: string;
  /** Of the underlay. */
  readonly subnet: number;
  readonly agent: 'ready' | 'not ready' | 'silent' | 'stopped';
  readonly pods: number;
  /** The agent's own report, if it answers. */
  readonly status?: AgentStatus;
  /** If the nodes have sessions (with BGP) and the program that holds them answers. */
  readonly sessions?: Sessions;
};

export type LabStatus = {
  readonly lab: string;
  readonly store: 'running' | 'stopped';
  readonly nodes: readonly NodeStatus[];
  readonly leases: readonly Member[];
  readonly addresses: Network['addresses'];
  /** Blocks with their owners. */
  readonly blocks: readonly BlockUsage[];
  /** The pods' address families. */
  readonly families: readonly Family[];
  /** What the nodes' sessions are called, if they have any: `BGP`. */
  readonly sessions?: string;
  readonly pods: readonly PodStatus[];
  /** Problems, as text. Empty if there are none. */
  readonly problems: readonly string[];
};

/** Queries all agents and the store concurrently. */
export async function labStatus(lab: Lab): Promise<LabStatus> {
  const problems: string[] = [];
  const pods = readPods(lab).map((pod) => podStatus(lab, pod));
  const running = storeProcess(lab) !== undefined;
  if (!running)
    problems.push(
      `the store is not running: agents keep working with what they know but learn nothing new: flatnet lab store start${labFlag(lab.name)}`,
    );
  const { addresses } = lab.network;
  const sessions = sessionsOfLab(lab);
  const hasBlocks = addresses === 'blocks';
  const [nodes, leases, blocks] = await Promise.all([
    Promise.all(lab.nodes.map((node) => nodeStatus(lab, node, pods))),
    running && !hasBlocks ? readOr<Member>('leases', () => readLeases(lab), problems) : [],
    running && hasBlocks ? readOr<BlockUsage>('blocks', () => readBlocks(lab), problems) : [],
  ]);
  const namespaces = listNetns();
  for (const node of nodes) {
    problems.push(...nodeProblems(lab, node, namespaces));
    if (sessions) problems.push(...sessionProblems(node, sessions));
  }
  problems.push(...torProblems(lab));
  for (const pod of pods) problems.push(...podProblems(lab, pod));
  const { create, pending } = plan(lab);
  for (const { message } of pending) problems.push(`pods are pending: ${message}`);
  for (const { namespace, name, node } of create) {
    problems.push(`pod ${namespace}/${name} is missing on ${node}: apply its manifest again`);
  }
  return {
    lab: lab.name,
    store: running ? 'running' : 'stopped',
    nodes,
    addresses,
    leases,
    blocks,
    families: familiesOf(lab.network),
    ...(sessions && { sessions: sessions.name }),
    pods,
    problems,
  };
}

async function nodeStatus(
  lab: Lab,
  { name, subnet }: { name: string; subnet: number },
  pods: readonly PodStatus[],
): Promise<NodeStatus> {
  const runs = agentProcess(lab, name) !== undefined;
  const status = await agentStatus(lab, name);
  const sessions = status && (await sessionsOfNode(lab, name));
  return {
    name,
    netns: netnsOf(lab.name, name),
    subnet,
    agent: !runs ? 'stopped' : !status ? 'silent' : status.ready ? 'ready' : 'not ready',
    pods: pods.filter((pod) => pod.node === name).length,
    ...(status ? { status } : {}),
    ...(sessions ? { sessions } : {}),
  };
}

/** The leases in the store, sorted by node. */
function readLeases(lab: Lab): Promise<readonly Member[]> {
  return withStore(lab, ({ membership }) => membership.members());
}

/** All blocks with their owners, sorted by node. */
async function readBlocks(lab: Lab): Promise<BlockUsage[]> {
  const snapshot = await withStore(lab, ({ blocks }) => blocks.snapshot());
  return usage(snapshot, [])
    .flatMap(({ blocks }) => blocks)
    .sort((a, b) => a.node.localeCompare(b.node, 'en', { numeric: true }));
}

async function readOr<T>(
  what: string,
  read: () => Promise<readonly T[]>,
  problems: string[],
): Promise<readonly T[]> {
  try {
    return await read();
  } catch (error) {
    problems.push(`the ${what} cannot be read: ${messageOf(error)}`);
    return [];
  }
}

function nodeProblems(
  lab: Lab,
  { name, netns, agent, status }: NodeStatus,
  namespaces: readonly string[],
): string[] {
  const problems: string[] = [];
  if (!namespaces.includes(netns)) problems.push(`${name}: its network namespace ${netns} is gone`);
  if (agent === 'stopped')
    problems.push(
      `${name}: no agent is running: the kernel keeps its state, but nothing is repaired: flatnet lab node start ${name}${labFlag(lab.name)}`,
    );
  if (agent === 'silent') problems.push(`${name}: the agent does not answer`);
  if (agent === 'not ready')
    problems.push(`${name}: not ready: ${status?.notReady ?? 'the agent is starting'}`);
  if (status) problems.push(...status.problems.map((each) => `${name}: ${problemText(each)}`));
  return problems;
}

function sessionProblems(
  { name, status, sessions }: NodeStatus,
  { name: kind, program }: WithSessions,
): string[] {
  if (!status) return [];
  if (!sessions) return [`${name}: ${program} does not answer`];
  return sessions.missing.map((text) => `${name}: no ${kind} session with ${text}`);
}

function podProblems(lab: Lab, pod: PodStatus): string[] {
  const problems: string[] = [];
  if (pod.phase === 'Lost')
    problems.push(
      `pod ${fullName(pod)}: its pause process has ended: apply its manifest again, or delete it`,
    );
  if (pod.phase === 'Starting') problems.push(`pod ${fullName(pod)}: not wired yet`);
  for (const container of pod.containers) {
    if (container.state === 'exited' && container.exitCode !== 0) {
      const { name, exitCode } = container;
      const logs = `flatnet lab logs ${fullName(pod)} -c ${name}${labFlag(lab.name)}`;
      problems.push(`pod ${fullName(pod)}: container ${name} exited with ${exitCode}: ${logs}`);
    }
  }
  return problems;
}
