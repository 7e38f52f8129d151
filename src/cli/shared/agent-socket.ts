import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { askAgent, type Operations, type Request } from '../../agent/ask.ts';
import { AGENT_SOCKET, DEFAULT_PATHS } from '../../agent/options.ts';
import { FlatnetError } from '../../error.ts';
import { DEFAULT_LAB, Lab, labFlag } from '../../lab/record/lab.ts';
import { LabPaths } from '../../lab/record/paths.ts';
import { labOption } from './commands.ts';

/** Selects the agent a command asks: this machine's, one by its socket, or that of a lab node. */
export type AgentSocketOptions = {
  readonly socket?: string;
  readonly lab?: string;
  readonly node?: string;
  readonly json?: boolean;
};

export function agentSocketOptions(command: Command): Command {
  return command
    .option('--socket <path>', `the agent’s socket (default: ${defaultSocket()})`)
    .option('--node <node>', 'query the agent of this lab node')
    .addOption(labOption(`the lab of that node; default: ${DEFAULT_LAB}`))
    .option('--json', 'print JSON');
}

/**
 * Throws USAGE for options that select no agent, or two; LAB_MISSING; NOT_FOUND if the lab has no such node.
 */
export function agentSocket({ socket, lab, node }: AgentSocketOptions): string {
  if (socket !== undefined && (node ?? lab) !== undefined) {
    throw usage('--socket', `conflicts with ${node === undefined ? '--lab' : '--node'}`, 'use one of them');
  }
  if (node === undefined) {
    if (lab !== undefined) throw usage('--lab', 'does not say which node', 'add --node, e.g. --node node1');
    return socket ?? defaultSocket();
  }
  const labName = lab ?? DEFAULT_LAB;
  const path = new LabPaths(labName).node(node).agentSocket;
  // Without a socket, the name may be wrong; with one, the agent may run even in an incomplete lab.
  if (!existsSync(path)) Lab.open(labName).node(node);
  return path;
}

/** Asks the selected agent, like `askAgent`; an error says where to look if the agent is not there. */
export function askSelected<Op extends keyof Operations>(
  options: AgentSocketOptions,
  request: Request<Op>,
): Promise<Operations[Op]> {
  return askAgent(agentSocket(options), request, undefined, hint(options));
}

function hint({ socket, lab, node }: AgentSocketOptions): string {
  if (node !== undefined) return `check that it is running: flatnet lab status${labFlag(lab ?? DEFAULT_LAB)}`;
  const running = 'check that the agent is running on this node';
  return socket === undefined ? `${running}; for a node of a lab, add --node NODE` : running;
}

function usage(object: string, text: string, fix: string): FlatnetError {
  return new FlatnetError(text, { code: 'USAGE', object, fix });
}

function defaultSocket(): string {
  return join(DEFAULT_PATHS.run, AGENT_SOCKET);
}
