import { join } from 'node:path';
import type { Command } from 'commander';
import { AGENT_SOCKET, DEFAULT_PATHS } from '../agent/options.ts';
import { LabPaths } from '../lab/paths.ts';

/** Which agent a command asks: that of this machine, one by its socket, or a node of a lab. */
export type AgentSocketOptions = {
  readonly socket?: string;
  readonly lab?: string;
  readonly node?: string;
  readonly json?: boolean;
};

export function agentSocketOptions(command: Command): Command {
  return command
    .option('--socket <path>', `the agent’s socket (default: ${defaultSocket()})`)
    .option('--node <node>', 'ask the agent of this node of a lab')
    .option('--lab <lab>', 'which lab, with --node', 'flatnet')
    .option('--json', 'print JSON');
}

export function agentSocket({ socket, lab = 'flatnet', node }: AgentSocketOptions): string {
  if (socket !== undefined) return socket;
  return node === undefined ? defaultSocket() : new LabPaths(lab).node(node).agentSocket;
}

function defaultSocket(): string {
  return join(DEFAULT_PATHS.run, AGENT_SOCKET);
}
