import { type AgentOptions, readAgentOptions } from '../../agent/options.ts';
import { parseJson } from '../../cluster/json.ts';
import { FlatnetError, messageOf } from '../../error.ts';
import { SILENT } from '../../log.ts';
import { openStore } from '../../store/open.ts';
import { readText } from './read-text.ts';

/** Where a pod finds flannel's ConfigMap mounted. */
export const NETWORK_FILE = '/etc/kube-flannel/net-conf.json';

/** Reads an agent's configuration, JSON or YAML. Throws like `agentOptionsIn`. */
export async function readAgentConfig(file: string): Promise<AgentOptions> {
  return agentOptionsIn(file, await read(file));
}

/**
 * Throws CONFIG_INVALID naming the file and the field, also for a store endpoint or a TLS file that cannot be
 * used.
 */
export async function agentOptionsIn(file: string, value: unknown): Promise<AgentOptions> {
  try {
    const options = readAgentOptions(value);
    (await openStore(options.store, SILENT)).store.close();
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
    const { readYaml } = await import('../../cluster/yaml.ts');
    const [first, second] = readYaml(text, file, 'CONFIG_INVALID');
    if (!second) return first?.value ?? null;
    throw new FlatnetError('multiple documents; write only one', {
      code: 'CONFIG_INVALID',
      object: second.at,
    });
  }
}
