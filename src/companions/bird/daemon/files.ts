import { existsSync } from 'node:fs';
import { mkdir, open, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** The paths of BIRD's files, and access to its configuration. */
export class BirdFiles {
  readonly folder: string;
  readonly config: string;
  /** Includes `config`, with additions for a BIRD recovering from a restart. */
  readonly recovery: string;
  readonly socket: string;
  readonly pid: string;
  /** Written by BIRD, which rotates it. */
  readonly log: string;
  /** BIRD's output before its log is open. */
  readonly stderr: string;

  constructor(folder: string) {
    this.folder = folder;
    this.config = join(folder, 'bird.conf');
    this.recovery = join(folder, 'recovery.conf');
    this.socket = join(folder, 'bird.ctl');
    this.pid = join(folder, 'bird.pid');
    this.log = join(folder, 'bird.log');
    this.stderr = join(folder, 'bird.stderr');
  }

  /** Returns the current configuration; undefined before the first one. */
  async readConfig(): Promise<string | undefined> {
    if (!existsSync(this.config)) return undefined;
    return readFile(this.config, 'utf8');
  }

  /**
   * Writes a candidate configuration and returns its path, for BIRD to check. The folder is created with mode
   * 0700.
   */
  async propose(text: string): Promise<string> {
    const path = `${this.config}.new`;
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    // The configuration contains passwords.
    const handle = await open(path, 'w', 0o600);
    try {
      await handle.chmod(0o600);
      await handle.writeFile(text);
    } finally {
      await handle.close();
    }
    return path;
  }

  /** Makes a candidate the current configuration. */
  async accept(proposed: string): Promise<void> {
    await rename(proposed, this.config);
  }

  async writeRecovery(text: string): Promise<void> {
    await writeFile(this.recovery, text);
  }
}
