import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { AGENT_SOCKET, type AgentOptions, DEFAULT_PATHS, readAgentOptions } from '../agent/options.ts';
import { type Diagnosis, examine } from '../doctor/doctor.ts';
import type { Finding } from '../doctor/finding.ts';
import { meet } from '../doctor/patient.ts';
import { FlatnetError } from '../error.ts';
import { INSTALLATION } from '../installation.ts';
import { DEFAULT_LAB, Lab } from '../lab/record/lab.ts';
import { netnsOf } from '../lab/record/names.ts';
import { netnsPath } from '../linux/netns.ts';
import { NETWORK_FILE, readAgentConfig } from './shared/agent-config.ts';
import { type AgentSocketOptions, agentSocket, agentSocketOptions } from './shared/agent-socket.ts';
import { integer, newCommand } from './shared/commands.ts';
import { EXIT, Exit } from './shared/failure.ts';
import { Progress, paint, print, render, type Style } from './shared/output.ts';

type Flags = AgentSocketOptions & { readonly config?: string; readonly peers: number };

/** Where docs/node.md has it. */
const CONFIG = '/etc/flatnet/agent.json';

export const command = agentSocketOptions(
  newCommand(
    'Examine this node: its agent and store, kernel, settings, ports, firewalls, policies and CNI folders, and the way to each peer, with packets of every kind. Also where no agent runs. Changes nothing. Exit status 1 if anything is wrong.',
    ['flatnet doctor', 'flatnet doctor --node node1 --lab flatnet', 'flatnet doctor --peers 5000 --json'],
  ),
)
  .option('--config <file>', `the agent’s configuration (default: ${CONFIG})`)
  .option('--peers <count>', 'test the ways to at most so many peers', integer(0, 1_000_000), 100)
  .action(async (flags: Flags) => {
    if (flags.node !== undefined || flags.lab !== undefined) throw new Exit(await inLab(flags));
    const options = await configuration(flags.config);
    const socket = flags.socket ?? join(options?.paths.run ?? DEFAULT_PATHS.run, AGENT_SOCKET);
    using progress = new Progress(flags.json === true);
    const patient = await meet(options, socket);
    const diagnosis = await examine(patient, { peers: flags.peers, progress: progress.say });
    progress[Symbol.dispose]();
    print(diagnosis, flags.json, describe);
    if (diagnosis.findings.some(({ state }) => state === 'wrong')) throw new Exit(EXIT.failed);
  });

/** A pod of the DaemonSet has no file: the agent there is told by flags and the pod's environment. */
async function configuration(file: string | undefined): Promise<AgentOptions | undefined> {
  if (file !== undefined || existsSync(CONFIG)) return readAgentConfig(file ?? CONFIG);
  const { NODE_NAME: node, KUBERNETES_SERVICE_HOST: api } = process.env;
  if (!node || !api) return undefined;
  return readAgentOptions({ node, store: { kubernetes: { networkFile: NETWORK_FILE } } });
}

/** Runs this command inside a node of a lab, and returns its exit status. */
async function inLab(flags: Flags): Promise<number> {
  const { node = '', config, peers, json } = flags;
  if (config !== undefined) {
    throw new FlatnetError('conflicts with --node', { code: 'USAGE', object: '--config', fix: 'drop one' });
  }
  // Refuses what selects no node, or two.
  agentSocket(flags);
  const lab = Lab.open(flags.lab ?? DEFAULT_LAB);
  const { name } = lab.node(node);
  const own = ['--config', lab.paths.node(name).agentConfig, '--peers', `${peers}`];
  const args = [`--net=${netnsPath(netnsOf(lab.name, name))}`, INSTALLATION.program, 'doctor', ...own];
  const child = spawn('nsenter', json ? [...args, '--json'] : args, { stdio: 'inherit' });
  const [status, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
  return status ?? 128 + (signal ? constants.signals[signal] : 0);
}

const LOOK: Readonly<Record<Finding['state'], Style>> = { ok: 'green', note: 'yellow', wrong: 'red' };

function describe({ findings }: Diagnosis): string {
  const [states, sections] = [width(findings, 'state'), width(findings, 'section')];
  const indent = ' '.repeat(states + sections + 4);
  const lines = findings.flatMap(({ state, section, what, cause, fix }) => [
    `${render(paint(LOOK[state], state.padEnd(states)))}  ${section.padEnd(sections)}  ${what}`,
    ...(cause === undefined ? [] : [`${indent}cause: ${cause}`]),
    ...(fix === undefined ? [] : [`${indent}fix: ${fix}`]),
  ]);
  const count = findings.filter(({ state }) => state === 'wrong').length;
  const verdict =
    count === 0
      ? render(paint('green', 'nothing is wrong'))
      : render(paint('red', `${count} ${count === 1 ? 'thing is' : 'things are'} wrong`));
  return [...lines, '', verdict].join('\n');
}

function width(findings: readonly Finding[], column: 'state' | 'section'): number {
  return Math.max(0, ...findings.map((finding) => finding[column].length));
}
