import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { join, resolve } from 'node:path';

const HERE = resolve(import.meta.dirname, '../..');

/** The version that clusters are upgraded from: the last one with the nftables table `flatnet`. */
export const BEFORE = 'aadf400';

/** For `skip`: false if git has that version, or in CI, where it must. */
export const NO_HISTORY = hasHistory() || process.env.CI ? false : `needs the git history back to ${BEFORE}`;

function hasHistory(): boolean {
  try {
    execFileSync('git', ['-C', HERE, 'cat-file', '-e', `${BEFORE}^{commit}`], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/**
 * Unpacks and builds that version in `dir`. If the lock files are the same, it uses this version's
 * dependencies; otherwise they are installed.
 */
export function checkOut(dir: string): void {
  if (!hasHistory()) {
    throw new Error(`git has no commit ${BEFORE}: fetch the whole history (git fetch --unshallow)`);
  }
  mkdirSync(dir);
  const run = (command: string, cwd = dir): string =>
    execFileSync('sh', ['-euc', command], { cwd, encoding: 'utf8' });
  run(`git archive ${BEFORE} | tar -x -C '${dir}'`, HERE);
  if (run(`git diff --quiet ${BEFORE} -- package-lock.json && echo same || true`, HERE) === 'same\n') {
    symlinkSync(join(HERE, 'node_modules'), join(dir, 'node_modules'));
  } else {
    run('npm ci --no-audit --no-fund --loglevel=error');
  }
  run('scripts/build-shim');
}

export function removeCheckOut(dir: string): void {
  rmSync(dir, { recursive: true, force: true });
}
