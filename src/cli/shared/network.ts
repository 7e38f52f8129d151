import { unknownKeys } from '../../backends/registry.ts';

/** Warns on standard error about keys of a network configuration that nothing reads. */
export function warnUnknownKeys(value: unknown): void {
  for (const { key, fix } of unknownKeys(value)) {
    process.stderr.write(`warning: ${key}: flatnet does not know this key and ignores it; ${fix}\n`);
  }
}
