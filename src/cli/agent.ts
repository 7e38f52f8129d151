import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { parse } from 'yaml';
import { readAgentOptions } from '../agent/options.ts';
import { runAgent } from '../agent/run.ts';
import { FlatnetError, messageOf } from '../error.ts';
import { processLog, stopSignal } from './daemon.ts';

/** `flatnet agent --config FILE`: this node's part of the network, until SIGTERM or SIGINT. */
export function addAgentCommand(program: Command): void {
  program
    .command('agent')
    .description('run this node’s agent: takes a subnet, programs the kernel, serves CNI')
    .requiredOption('--config <file>', 'configuration, JSON or YAML')
    .action(async ({ config }: { config: string }) => {
      const options = readAgentOptions(read(config));
      await runAgent(options, processLog(options.logLevel), stopSignal());
    });
}

function read(file: string): unknown {
  try {
    return parse(readFileSync(file, 'utf8'));
  } catch (cause) {
    throw new FlatnetError(messageOf(cause), {
      code: 'CONFIG_INVALID',
      operation: 'read',
      object: file,
      cause,
    });
  }
}
