// Debian's packages for either architecture, in the versions of a lock file, without installing anything.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Architecture } from './oci.ts';

export type Package = { readonly version: string; readonly sha256: string };
export type Packages = Readonly<Record<string, Package>>;
type Lock = Partial<Record<Architecture, Packages>>;

/** Programs first, then what they and Node are linked with. */
export const PACKAGES = (
  'bird2 nftables ca-certificates libc6 libgcc-s1 libstdc++6 libatomic1 libnftables1 libedit2 libmnl0 libnftnl11 ' +
  'libxtables12 libjansson4 libgmp10 libtinfo6 libbsd0 libmd0 libssh-gcrypt-4 libgcrypt20 libgpg-error0 zlib1g ' +
  'libgssapi-krb5-2 libkrb5-3 libk5crypto3 libcom-err2 libkrb5support0 libkeyutils1'
).split(' ');

export const LOCK = join(import.meta.dirname, 'debian.lock.json');

export function readLock(path: string, architecture: Architecture): Packages {
  const lock = JSON.parse(readFileSync(path, 'utf8')) as Lock;
  return lock[architecture] ?? {};
}

/** Writes the newest versions of the machine's sources into a lock file. */
export function updateLock(path: string, architecture: Architecture, cache: string): void {
  const apt = new Apt(architecture, cache);
  apt.update();
  const entries = PACKAGES.map((name) => [name, apt.newest(name)]);
  const old = existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as Lock) : {};
  const lock: Lock = { ...old, [architecture]: Object.fromEntries(entries) };
  writeFileSync(path, `${JSON.stringify(lock, undefined, 2)}\n`);
}

/**
 * Unpacks packages into a folder. Downloads those that `cache` lacks. Throws if a package is no longer to be had in the
 * version of the lock file: an archive keeps only the newest.
 */
export function unpack(packages: Packages, architecture: Architecture, cache: string, into: string): void {
  const files = join(cache, 'debian');
  mkdirSync(files, { recursive: true });
  let apt: Apt | undefined;
  for (const [name, { version, sha256 }] of Object.entries(packages)) {
    const path = join(files, `${sha256}.deb`);
    if (!existsSync(path)) {
      if (!apt) {
        apt = new Apt(architecture, cache);
        apt.update();
      }
      apt.download(name, version, path);
    }
    if (createHash('sha256').update(readFileSync(path)).digest('hex') !== sha256) {
      rmSync(path);
      throw new Error(`${name} ${version}: not the file of the lock file`);
    }
    execFileSync('dpkg-deb', ['-x', path, into]);
  }
}

/** apt with lists of its own, so that another architecture needs no change to this machine. */
class Apt {
  readonly #folder: string;
  readonly #options: readonly string[];

  constructor(architecture: Architecture, cache: string) {
    this.#folder = join(cache, `apt-${architecture}`);
    for (const each of ['lists/partial', 'cache/archives/partial', 'download']) {
      mkdirSync(join(this.#folder, each), { recursive: true });
    }
    const settings = {
      'APT::Architecture': architecture,
      'APT::Architectures': architecture,
      'APT::Sandbox::User': 'root',
      'Dir::State::lists': join(this.#folder, 'lists'),
      'Dir::State::status': '/dev/null',
      'Dir::Cache': join(this.#folder, 'cache'),
    };
    this.#options = Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
  }

  update(): void {
    execFileSync('apt-get', [...this.#options, '-qq', 'update']);
  }

  newest(name: string): Package {
    const [text = ''] = this.#show(name).split('\n\n');
    const field = (key: string): string => new RegExp(`^${key}: (.*)$`, 'm').exec(text)?.[1] ?? '';
    return { version: field('Version'), sha256: field('SHA256') };
  }

  download(name: string, version: string, to: string): void {
    const folder = join(this.#folder, 'download');
    for (const old of readdirSync(folder)) rmSync(join(folder, old));
    try {
      const argv = [...this.#options, '-qq', 'download', `${name}=${version}`];
      execFileSync('apt-get', argv, { cwd: folder, stdio: 'pipe' });
    } catch (cause) {
      const fix = "take the newest versions: 'scripts/image --update-lock'";
      throw new Error(`${name} ${version} cannot be had; ${fix}`, { cause });
    }
    const [found = ''] = readdirSync(folder);
    renameSync(join(folder, found), to);
  }

  #show(name: string): string {
    return execFileSync('apt-cache', [...this.#options, 'show', name], { encoding: 'utf8' });
  }
}
