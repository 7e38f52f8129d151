import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { archive, layer } from '../../../tools/image/oci.ts';
import { type Entry, file, folder, link, type Tree } from '../../../tools/image/tar.ts';
import { ARCHITECTURE } from '../../cni/busybox-image.ts';

/** The image of dns.yaml. */
const OWN = 'flatnet.test/e2e:1';

/** What the cases run that busybox lacks, or has with fewer options. */
const PROGRAMS = {
  bash: '/bin/bash',
  curl: '/usr/bin/curl',
  dig: '/usr/bin/dig',
  getent: '/usr/bin/getent',
  nc: '/bin/nc.openbsd',
  // busybox's would prefer its own nc to the one on the PATH.
  sh: '/bin/dash',
  ss: '/bin/ss',
  // That of Debian's static busybox crashes.
  wget: '/usr/bin/wget',
} as const;

/**
 * Makes the images that the cases' pods want, from this machine's programs and those in `built`. `wanted`:
 * the names of all images of upstream's cases. Returns the archives' paths.
 */
export function imageArchives(
  directory: string,
  built: string,
  wanted: readonly string[],
): readonly string[] {
  const layers = [layer('programs of Debian, upstream’s cases and CoreDNS', programs(built))];
  const write = (names: readonly string[], config: object): string => {
    const path = join(directory, `${names[0]?.replaceAll('/', '-')}.tar`);
    const image = { architecture: ARCHITECTURE, config: { Env: ['PATH=/bin'], ...config }, layers };
    writeFileSync(path, archive(names, [image]));
    return path;
  };
  const named = (pattern: RegExp) => wanted.filter((name) => pattern.test(name));
  return [
    write([OWN, ...named(/\/(agnhost|glibc-dns-testing|pause):/)], {
      Entrypoint: ['/agnhost'],
      Cmd: ['pause'],
    }),
    write(named(/\/busybox:/), { Cmd: ['sh'] }),
    write(named(/\/regression-issue-74839:/), { Entrypoint: ['/regression-issue-74839'] }),
  ];
}

function programs(built: string): Tree {
  const applets = execFileSync('/bin/busybox', ['--list'], { encoding: 'utf8' }).split('\n').filter(Boolean);
  const tree = new Map<string, Entry>(applets.map((name) => [`bin/${name}`, link('busybox')]));
  const add = (path: string, from: string) => tree.set(path, file(readFileSync(from), 0o755));
  add('bin/busybox', '/bin/busybox');
  for (const [name, path] of Object.entries(PROGRAMS)) {
    add(`bin/${name}`, path);
    for (const library of librariesOf(path)) add(library.slice(1), library);
  }
  for (const name of ['coredns', 'regression-issue-74839']) add(name, join(built, name));
  add('agnhost', join(built, 'sctp'));
  add('agnhost-upstream', join(built, 'agnhost'));
  tree.set('agnhost-2', link('agnhost'));
  for (const name of ['etc', 'uploads']) tree.set(name, folder());
  tree.set('tmp', folder(0o1777));
  tree.set('etc/passwd', file('root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n'));
  return tree;
}

function librariesOf(program: string): readonly string[] {
  return execFileSync('ldd', [program], { encoding: 'utf8' }).match(/\/\S+/g) ?? [];
}
