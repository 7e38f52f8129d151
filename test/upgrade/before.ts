import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
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
 * Unpacks and builds that version in `dir`. If this version has the same dependencies, among others, it uses
 * those; otherwise they are installed, which needs a network.
 */
export function checkOut(dir: string): void {
  if (!hasHistory()) {
    throw new Error(`git has no commit ${BEFORE}: fetch the whole history (git fetch --unshallow)`);
  }
  mkdirSync(dir);
  const run = (command: string, cwd = dir): string =>
    execFileSync('sh', ['-euc', command], { cwd, encoding: 'utf8' });
  run(`git archive ${BEFORE} | tar -x -C '${dir}'`, HERE);
  const needed = packagesOf(join(dir, 'package-lock.json'));
  const present = packagesOf(join(HERE, 'package-lock.json'));
  if ([...needed].every(([path, version]) => present.get(path) === version)) {
    symlinkSync(join(HERE, 'node_modules'), join(dir, 'node_modules'));
  } else {
    run('npm ci --no-audit --no-fund --loglevel=error');
  }
  run('scripts/build-shim');
}

/** The version of each package in a lock file, by the path where it is installed. */
function packagesOf(lockFile: string): Map<string, string | undefined> {
  const { packages }: { packages: Record<string, { version?: string }> } = JSON.parse(
    readFileSync(lockFile, 'utf8'),
  );
  const installed = Object.entries(packages).filter(([path]) => path !== '');
  return new Map(installed.map(([path, { version }]) => [path, version]));
}

export function removeCheckOut(dir: string): void {
  rmSync(dir, { recursive: true, force: true });
}
