import { existsSync } from 'node:fs';
import { join } from 'node:path';

/** The compiled plugin. */
export const SHIM = join(import.meta.dirname, '../../dist/flatnet-cni');

/** For `skip`: false if it has been built, or must be (in CI). */
export const NO_SHIM =
  existsSync(SHIM) || process.env.CI ? false : "needs the compiled plugin: run 'make shim'";
