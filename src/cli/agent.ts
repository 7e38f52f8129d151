import { type AgentOptions, readAgentOptions } from '../agent/options.ts';
import { runAgent } from '../agent/run.ts';
import { parseJson } from '../cluster/json.ts';
import { FlatnetError, messageOf } from '../error.ts';
import { SILENT } from '../log.ts';
import { openStore } from '../store/open.ts';
import { newCommand } from './shared/commands.ts';
import { processLog, stopSignal } from './shared/daemon.ts';
import { readText } from './shared/read-text.ts';

export const command = newCommand(
  'Run this node’s agent until SIGTERM or SIGINT: claim a subnet, program the kernel, serve CNI. Stopping it changes nothing: pods keep communicating.',
  ['flatnet agent --config /etc/flatnet/agent.json'],
)
  .requiredOption('--config <file>', 'configuration, JSON or YAML')
  .action(async ({ config }: { config: string }) => {
    const options = await inFile(config, await read(config));
    await runAgent(options, processLog(options.logLevel), stopSignal());
  });

/**
 * Throws CONFIG_INVALID naming the file and the field, also for a store endpoint or a TLS file that cannot be
 * used.
 */
async function inFile(file: string, value: unknown): Promise<AgentOptions> {
  try {
    const options = readAgentOptions(value);
    (await openStore(options.store, SILENT)).close();
    return options;
  } catch (error) {
    throw new FlatnetError(messageOf(error), { code: 'CONFIG_INVALID', object: file, cause: error });
  }
}

async function read(file: string): Promise<unknown> {
  const text = readText(file, 'CONFIG_INVALID');
  try {
    return parseJson(text);
  } catch {
    // Most agents never need the YAML parser.
    const { readYaml } = await import('../cluster/yaml.ts');
    const [first, second] = readYaml(text, file, 'CONFIG_INVALID');
    if (!second) return first?.value ?? null;
    throw new FlatnetError('multiple documents; write only one', {
      code: 'CONFIG_INVALID',
      object: second.at,
    });
  }
}
