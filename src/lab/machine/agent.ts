import { mkdirSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { askAgent } from '../../agent/api/client.ts';
import type { AgentOptions } from '../../agent/options.ts';
import type { AgentStatus } from '../../agent/status.ts';
import { FlatnetError } from '../../error.ts';
import { netnsPath } from '../../linux/netns.ts';
import { isAlive, killNow, type ProcessId, spawnDetached, terminate } from '../../linux/process.ts';
import { DEFAULT_PREFIX } from '../../store/open.ts';
import { lastLines, writeJson } from '../record/files.ts';
import { type Lab, labEnvironment, readProcess } from '../record/lab.ts';
import { netnsOf } from '../record/names.ts';
import { flatnetProgram, linkPlugins } from './programs.ts';
import { storeEndpoint } from './store.ts';

/** How long agents may take that start at once on an emulated machine; 30 of them on two cores of a real one take a quarter of a minute. */
const PATIENCE = 180_000;
const GRACE = 5000;

/** flannel's: a node may be away for a day. */
const LEASE_TTL = 86_400;

/**
 * Starts the node's agent in the node's namespace. It is not ready yet: see `agentReady`. `leaseTtl`:
 * seconds.
 */
export async function startAgent(lab: Lab, name: string, leaseTtl = LEASE_TTL): Promise<void> {
  const paths = lab.paths.node(name);
  const options: AgentOptions = {
    node: name,
    labels: { 'kubernetes.io/hostname': name },
    store: { endpoints: [storeEndpoint(lab)], prefix: DEFAULT_PREFIX, leaseTtl },
    iface: 'eth0',
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
 * Resolves when the agent can take pods. Throws AGENT_UNREACHABLE with the end of its log when it ended,
 * TIMEOUT when it is never ready.
 */
export async function agentReady(lab: Lab, name: string, signal?: AbortSignal): Promise<AgentStatus> {
  const { agentLog } = lab.paths.node(name);
  const deadline = performance.now() + PATIENCE;
  let reason = 'it does not answer';
  while (performance.now() < deadline) {
    signal?.throwIfAborted();
    const status = await agentStatus(lab, name);
    if (status?.ready) return status;
    if (!agentProcess(lab, name)) {
      throw new FlatnetError(lastLines(agentLog, 1) || 'it ended without a word', {
        code: 'AGENT_UNREACHABLE',
        operation: 'start agent',
        object: `node ${name}`,
        fix: `see ${agentLog} (after a failed up only with --keep)`,
      });
    }
    reason = status?.notReady ?? reason;
    await sleep(50);
  }
  throw new FlatnetError(`not ready after ${PATIENCE / 1000} s: ${reason}`, {
    code: 'TIMEOUT',
    operation: 'start agent',
    object: `node ${name}`,
    fix: `see ${agentLog} (after a failed up only with --keep)`,
  });
}

/** SIGTERM, so that the agent tidies up after itself, or SIGKILL. The data path stays. */
export async function stopAgent(lab: Lab, name: string, how: 'stop' | 'kill'): Promise<void> {
  const id = agentProcess(lab, name);
  if (id && how === 'kill') await killNow([id]);
  else if (id) await terminate([id], GRACE);
  rmSync(lab.paths.node(name).agentProcess, { force: true });
}

/** Undefined when the agent does not run. */
export function agentProcess(lab: Lab, name: string): ProcessId | undefined {
  const id = readProcess(lab.paths.node(name).agentProcess);
  return id && isAlive(id) ? id : undefined;
}

/** Undefined when the agent does not answer within `timeoutMs`. */
export async function agentStatus(
  lab: Lab,
  name: string,
  timeoutMs = 2000,
): Promise<AgentStatus | undefined> {
  if (!agentProcess(lab, name)) return undefined;
  try {
    return await askAgent<AgentStatus>(lab.paths.node(name).agentSocket, { op: 'status' }, timeoutMs);
  } catch (error) {
    if (error instanceof FlatnetError && error.code === 'AGENT_UNREACHABLE') return undefined;
    throw error;
  }
}
