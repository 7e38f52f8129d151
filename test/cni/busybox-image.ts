import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { type Architecture, archive, layer } from '../../tools/image/oci.ts';
import { type Entry, file, folder, link } from '../../tools/image/tar.ts';

/** Never pulled from a registry: it is built from this machine's busybox. */
export const IMAGE = 'flatnet.test/busybox:1';

export const ARCHITECTURE: Architecture = process.arch === 'arm64' ? 'arm64' : 'amd64';

const APPLETS = ['sh', 'sleep', 'httpd', 'wget', 'ping', 'ip', 'hostname', 'echo', 'cat'];

/** A CGI script that returns the client's source address. */
const WHO = '#!/bin/sh\nprintf "Content-Type: text/plain\\r\\n\\r\\n%s" "$REMOTE_ADDR"\n';

/**
 * Returns an archive for `ctr images import` of the static busybox, linked under the names of some of its
 * applets. Its entrypoint is sleep, so it is a pause image too.
 */
export function busyboxImage(): Buffer {
  const busybox = execFileSync('which', ['busybox'], { encoding: 'utf8' }).trim();
  const root = new Map<string, Entry>([
    ['bin/busybox', file(readFileSync(busybox), 0o755)],
    ...APPLETS.map((name) => [`bin/${name}`, link('busybox')] as const),
    ['www/cgi-bin/who', file(WHO, 0o755)],
    ...['etc', 'tmp'].map((path) => [path, folder()] as const),
  ]);
  const config = { Entrypoint: ['/bin/sleep', '1000000'], Env: ['PATH=/bin'] };
  const image = { architecture: ARCHITECTURE, config, layers: [layer('busybox', root)] };
  return archive([IMAGE], [image]);
}
