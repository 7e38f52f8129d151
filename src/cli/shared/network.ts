import { unknownKeys } from '../../backends/registry.ts';
import { FlatnetError, messageOf } from '../../error.ts';

/** Warns on standard error about keys of a network configuration that nothing reads. */
export function warnUnknownKeys(value: unknown): void {
  for (const { key, fix } of unknownKeys(value)) {
    process.stderr.write(`warning: ${key}: flatnet does not know this key and ignores it; ${fix}\n`);
  }
}

/** Attributes an error in the configuration to the file it was read from. */
export function inFile<T>(filename: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof FlatnetError) || error.code !== 'CONFIG_INVALID') throw error;
    throw new FlatnetError(messageOf(error), { code: error.code, object: filename, cause: error });
  }
}
