import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const BIRD = ['/usr/sbin/bird', '/usr/local/sbin/bird'].find((path) => existsSync(path));

/** Why tests with a real BIRD cannot run here; false when they can. In CI they must. */
export const NO_BIRD = BIRD === undefined && !process.env.CI ? 'needs bird: apt-get install bird2' : false;

/** The errors `bird -p` reports for a configuration; empty when it is valid. */
export function complaintOf(config: string): string {
  const folder = mkdtempSync(join(tmpdir(), `flatnet-bird-${process.pid}-`));
  try {
    const file = join(folder, 'bird.conf');
    writeFileSync(file, config);
    const { status, stderr, error } = spawnSync(BIRD ?? 'bird', ['-p', '-c', file], { encoding: 'utf8' });
    if (error) throw error;
    return status === 0 ? '' : stderr || `exit status ${status}`;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
