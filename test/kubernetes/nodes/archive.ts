import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { archive, layer } from '../../../tools/image/oci.ts';
import { type Entry, file, folder, link } from '../../../tools/image/tar.ts';
import { ARCHITECTURE } from '../../cni/busybox-image.ts';

/** The names of the image: what a sandbox runs, and what the tests' pods do. */
export const PAUSE = 'registry.k8s.io/pause:3.10';
export const BUSYBOX = 'docker.io/library/busybox:1';

/** Makes an image of busybox alone, as an archive that `ctr images import` reads. Returns its path. */
export function busyboxArchive(directory: string): string {
  const commands = execFileSync('/bin/busybox', ['--list'], { encoding: 'utf8' }).split('\n').filter(Boolean);
  const root = new Map<string, Entry>([
    ...commands.map((name) => [`bin/${name}`, link('busybox')] as const),
    ['bin/busybox', file(readFileSync('/bin/busybox'), 0o755)],
    ['tmp', folder()],
  ]);
  // What a sandbox does; pods have a command of their own.
  const config = { Cmd: ['sleep', '1000000000'], Env: ['PATH=/bin'] };
  const image = { architecture: ARCHITECTURE, config, layers: [layer('busybox', root)] };
  const path = join(directory, 'busybox.tar');
  writeFileSync(path, archive([PAUSE, BUSYBOX], [image]));
  return path;
}
