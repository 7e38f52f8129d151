import { stringify } from 'yaml';
import { FlatnetError, messageOf } from '../error.ts';
import { parseJson } from './json.ts';
import { type Network, readNetwork } from './network.ts';
import { readYaml } from './yaml.ts';

/**
 * Reads the text of a configuration file: flannel's net-conf.json, or the same keys as YAML. `filename`
 * provides the extension and names the file in errors. `complete` may amend the parsed value before it is
 * read. Throws CONFIG_INVALID naming the field, or line and column.
 */
export function readNetworkFile(
  text: string,
  filename: string,
  complete: (value: unknown) => unknown = (value) => value,
): Network {
  const value = parseNetworkFile(text, filename);
  try {
    return readNetwork(complete(value));
  } catch (error) {
    throw new FlatnetError(messageOf(error), { code: 'CONFIG_INVALID', object: filename, cause: error });
  }
}

/** Returns what the file says, unchecked. Throws CONFIG_INVALID naming line and column. */
export function parseNetworkFile(text: string, filename: string): unknown {
  return parse(text.replace(/^\uFEFF/, ''), filename);
}

/** Writes the parsed configuration as YAML that `readNetworkFile` reads. */
export function networkFileYaml(value: unknown): string {
  return stringify(value, { lineWidth: 0 });
}

function parse(text: string, filename: string): unknown {
  const isJson = filename.endsWith('.json');
  if (!isJson && !text.trimStart().startsWith('{')) return parseYaml(text, filename);
  try {
    return parseJson(text);
  } catch (error) {
    // `{` also begins a YAML flow mapping, whose keys need no quotes.
    if (!isJson) return parseYaml(text, filename);
    throw new FlatnetError(messageOf(error), { code: 'CONFIG_INVALID', object: filename, cause: error });
  }
}

function parseYaml(text: string, filename: string): unknown {
  const [first, second] = readYaml(text, filename, 'CONFIG_INVALID');
  if (!second) return first?.value ?? null;
  throw new FlatnetError('multiple documents; write only one', { code: 'CONFIG_INVALID', object: second.at });
}
