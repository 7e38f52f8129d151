import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { withNetns } from '../../src/linux/netns.ts';
import type { Answer, CallOptions, Host } from './host.ts';
import { request } from './host.ts';

/** Debian's containernetworking-plugins. */
export const REFERENCE = '/usr/lib/cni';

/** For `skip`: false if the reference plugins are installed, or must be (in CI). */
export const NO_REFERENCE =
  existsSync(join(REFERENCE, 'bridge')) || process.env.CI
    ? false
    : 'needs the reference CNI plugins: apt-get install containernetworking-plugins';

/** Runs a plugin executable in the node's namespace. */
export function exec(host: Host, plugin: string, command: string, options: CallOptions): Answer {
  const { env, stdin } = request(command, options);
  const { stdout, stderr, status } = withNetns(host.path, () =>
    spawnSync(plugin, {
      env: { PATH: process.env.PATH ?? '', ...env },
      input: stdin,
      encoding: 'utf8',
      timeout: 20_000,
    }),
  );
  if (status === null) throw new Error(`${plugin} ${command} was killed: ${stderr}`);
  return { exit: status, out: stdout.trim() === '' ? undefined : JSON.parse(stdout) };
}

export function reference(host: Host, plugin: string, command: string, options: CallOptions): Answer {
  return exec(host, join(REFERENCE, plugin), command, options);
}
