// Packages of package-lock.json that this machine's architecture does not install.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '../..');

type Locked = { readonly version: string; readonly integrity: string };

/** Returns a folder with the package's contents. */
export function packageFolder(name: string, cache: string): string {
  const installed = join(ROOT, 'node_modules', name);
  if (existsSync(installed)) return installed;
  const { version, integrity } = locked(name);
  const to = join(cache, 'npm', `${name.replaceAll('/', '+')}-${version}`);
  if (existsSync(to)) return to;
  const working = `${to}.new`;
  rmSync(working, { recursive: true, force: true });
  mkdirSync(working, { recursive: true });
  const pack = ['pack', `${name}@${version}`, '--silent', '--pack-destination', working];
  const archive = execFileSync('npm', pack, { encoding: 'utf8' }).trim();
  const path = join(working, archive);
  const found = `sha512-${createHash('sha512').update(readFileSync(path)).digest('base64')}`;
  if (found !== integrity) throw new Error(`${name}@${version}: not the file of package-lock.json`);
  execFileSync('tar', ['-xzf', path, '-C', working, '--strip-components=1', '--no-same-owner']);
  rmSync(path);
  renameSync(working, to);
  return to;
}

function locked(name: string): Locked {
  const lock = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')) as {
    readonly packages: Readonly<Record<string, Locked>>;
  };
  const found = lock.packages[`node_modules/${name}`];
  if (!found) throw new Error(`package-lock.json has no ${name}`);
  return found;
}
