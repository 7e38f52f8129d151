import { LineCounter, parseDocument } from 'yaml';
import { FlatnetError, messageOf } from '../error.ts';
import { type Network, readNetwork } from './network.ts';

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
  const value = parse(text.replace(/^\uFEFF/, ''), filename);
  try {
    return readNetwork(complete(value));
  } catch (error) {
    throw new FlatnetError(messageOf(error), { code: 'CONFIG_INVALID', object: filename, cause: error });
  }
}

function parse(text: string, filename: string): unknown {
  if (!filename.endsWith('.json') && !text.trimStart().startsWith('{')) return parseYaml(text, filename);
  try {
    return JSON.parse(text);
  } catch (error) {
    // `{` also begins a YAML flow mapping, whose keys need no quotes.
    if (!filename.endsWith('.json')) return parseYaml(text, filename);
    throw new FlatnetError(messageOf(error), { code: 'CONFIG_INVALID', object: filename, cause: error });
  }
}

function parseYaml(text: string, filename: string): unknown {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const [error] = document.errors;
  if (error) {
    const { line, col } = lines.linePos(error.pos[0]);
    throw new FlatnetError(error.message, {
      code: 'CONFIG_INVALID',
      object: `${filename}:${line}:${col}`,
      cause: error,
    });
  }
  try {
    return document.toJS();
  } catch (cause) {
    // Too deeply nested aliases.
    throw new FlatnetError(messageOf(cause), { code: 'CONFIG_INVALID', object: filename, cause });
  }
}
