import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { askAgent } from '../../agent/ask.ts';
import { currentStatus } from '../../agent/older-status.ts';
import type { AgentOptions } from '../../agent/options.ts';
import type { AgentStatus } from '../../agent/status.ts';
import { poll } from '../../async/poll.ts';
import { FlatnetError } from '../../error.ts';
import { netnsPath } from '../../linux/netns.ts';
import { isAlive, killNow, type ProcessId, spawnDetached, terminate } from '../../linux/process.ts';
import { DEFAULT_PREFIX } from '../../store/open.ts';
import { lastLines, writeJson } from '../record/files.ts';
import { type Lab, labEnvironment, readProcess } from '../record/lab.ts';
import { netnsOf } from '../record/names.ts';
import { flatnetProgram, linkPlugins } from './programs.ts';
import { storeEndpoint } from './store.ts';

/**
 * Timeout in milliseconds, ample even for agents that all start at once on an emulated machine: on two real
 * cores, 30 take 15 s.
 */
const PATIENCE = 300_000;
const GRACE = 5000;

/** Seconds, as in flannel: a node may be down for a day. */
const LEASE_TTL = 86_400;

/**
 * Starts the node's agent in the node's namespace, without waiting until it is ready (see `agentReady`).
 * `leaseTtl`: seconds.
 */
export async function startAgent(lab: Lab, name: string, leaseTtl = LEASE_TTL): Promise<void> {
  const paths = lab.paths.node(name);
  const options: AgentOptions = {
    node: name,
    labels: { 'kubernetes.io/hostname': name },
    store: { endpoints: [storeEndpoint(lab)], prefix: DEFAULT_PREFIX, leaseTtl },
    iface: 'eth0',
    // Whoever configured the lab is root on this machine.
    ...(lab.network.backend.type === 'extension' && { allowExtension: true }),
    paths: paths.agent,
    logLevel: 'info',
  };
  mkdirSync(paths.agent.cniConf, { recursive: true, mode: 0o700 });
  linkPlugins(paths.agent.cniBin);
  writeJson(paths.agentConfig, options);
  const id = await spawnDetached(flatnetProgram('agent', '--config', paths.agentConfig), {
    logFile: paths.agentLog,
    env: labEnvironment(lab.name),
    netns: netnsPath(netnsOf(lab.name, name)),
  });
  writeJson(paths.agentProcess, id);
}

/**
 * Resolves when the agent can take pods. Throws AGENT_UNREACHABLE with the end of its log if it has exited,
 * TIMEOUT if it is never ready.
 */
export async function agentReady(lab: Lab, name: string, signal?: AbortSignal): Promise<AgentStatus> {
  const {
    agentLog,
    agent: { cniConf },
  } = lab.paths.node(name);
  const failed = (code: 'AGENT_UNREACHABLE' | 'TIMEOUT', text: string): FlatnetError =>
    new FlatnetError(text, {
      code,
      operation: 'start agent',
      object: `node ${name}`,
      fix: `see ${agentLog} (after a failed up only with --keep)`,
    });
  let reason = 'the agent does not answer';
  const ask = async (): Promise<AgentStatus | undefined> => {
    const status = await agentStatus(lab, name);
    // Without the file, which follows at once, runtimes find no network.
    if (status?.ready && hasConfList(cniConf)) return status;
    if (!agentProcess(lab, name)) {
      throw failed('AGENT_UNREACHABLE', lastLines(agentLog, 1) || 'the agent exited without a message');
    }
    reason = status?.notReady ?? reason;
    return undefined;
  };
  const ready = await poll(ask, { every: 50, patience: PATIENCE, signal });
  if (ready) return ready;
  throw failed('TIMEOUT', `not ready after ${PATIENCE / 1000} s: ${reason}`);
}

/** `stop` sends SIGTERM, so that the agent can clean up; `kill` sends SIGKILL. The data path stays. */
export async function stopAgent(lab: Lab, name: string, how: 'stop' | 'kill'): Promise<void> {
  const id = agentProcess(lab, name);
  if (id && how === 'kill') await killNow([id]);
  else if (id) await terminate([id], GRACE);
  rmSync(lab.paths.node(name).agentProcess, { force: true });
}

/** Undefined if the agent is not running. */
export function agentProcess(lab: Lab, name: string): ProcessId | undefined {
  const id = readProcess(lab.paths.node(name).agentProcess);
  return id && isAlive(id) ? id : undefined;
}

/** Undefined if the agent does not answer within `timeoutMs`. */
export async function agentStatus(
  lab: Lab,
  name: string,
  timeoutMs = 2000,
): Promise<AgentStatus | undefined> {
  if (!agentProcess(lab, name)) return undefined;
  try {
    return currentStatus(await askAgent(lab.paths.node(name).agentSocket, { op: 'status' }, timeoutMs));
  } catch (error) {
    if (error instanceof FlatnetError && error.code === 'AGENT_UNREACHABLE') return undefined;
    throw error;
  }
}

function hasConfList(dir: string): boolean {
  return readdirSync(dir).some((name) => name.endsWith('.conflist'));
}
