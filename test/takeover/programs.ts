import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';

/** A program that a script builds: from its public module, in a cache. */
export type Built = {
  readonly path: string;
  /** For `skip`: false if it is there, or has to be. */
  readonly missing: false | string;
};

export const FLANNELD = builtBy('flanneld');
/** With its nftables backend. */
export const PORTMAP = builtBy('portmap');

function builtBy(script: string): Built {
  const file = new URL(`../../scripts/${script}`, import.meta.url).pathname;
  const path = execFileSync(file, ['--path'], { encoding: 'utf8' }).trim();
  const isThere = process.env.CI || existsSync(path);
  return { path, missing: isThere ? false : `needs ${script}: scripts/${script} builds it` };
}
