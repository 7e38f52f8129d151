import { readAgentOptions } from '../agent/options.ts';
import { runAgent } from '../agent/run.ts';
import { FlatnetError, messageOf } from '../error.ts';
import { newCommand } from './shared/commands.ts';
import { processLog, stopSignal } from './shared/daemon.ts';
import { readText } from './shared/read-text.ts';

export const command = newCommand(
  'Run this node’s agent until SIGTERM or SIGINT: claim a subnet, program the kernel, serve CNI. Stopping it changes nothing: pods keep communicating.',
  ['flatnet agent --config /etc/flatnet/agent.json'],
)
  .requiredOption('--config <file>', 'configuration, JSON or YAML')
  .action(async ({ config }: { config: string }) => {
    const options = readAgentOptions(await read(config));
    await runAgent(options, processLog(options.logLevel), stopSignal());
  });

async function read(file: string): Promise<unknown> {
  const text = readText(file, 'CONFIG_INVALID');
  try {
    return JSON.parse(text);
  } catch {
    return parseYaml(text, file);
  }
}

/** Loads the parser on demand: most agents never need it. */
async function parseYaml(text: string, file: string): Promise<unknown> {
  const { parse } = await import('yaml');
  try {
    return parse(text);
  } catch (cause) {
    throw new FlatnetError(messageOf(cause), {
      code: 'CONFIG_INVALID',
      operation: 'read',
      object: file,
      cause,
    });
  }
}
