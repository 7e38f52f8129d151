import { unknownKeys } from '../../backends/registry.ts';
import { FlatnetError, messageOf } from '../../error.ts';

/** Warns on standard error about keys of a network configuration that nothing reads. */
export function warnUnknownKeys(value: unknown): void {
  for (const { key, fix } of unknownKeys(value)) {
    process.stderr.write(`warning: ${key}: flatnet does not know this key and ignores it; ${fix}\n`);
  }
}

/** Attributes an error in the configuration to the file it was read from; returns any other as it is. */
export function ofFile(filename: string, error: unknown): unknown {
  if (!(error instanceof FlatnetError) || error.code !== 'CONFIG_INVALID') return error;
  return new FlatnetError(messageOf(error), { code: error.code, object: filename, cause: error });
}

/** Runs `work`, whose errors are those of the file. */
export function inFile<T>(filename: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw ofFile(filename, error);
  }
}
