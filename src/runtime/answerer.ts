import { mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { join, resolve } from 'node:path';

const PAGE = resolve(import.meta.dirname, 'answer.sh');

/** A server that ends, as when its port is taken in the pod, takes the others with it: the container has failed. */
const ONE_FOR_ALL = `trap 'trap - CHLD; kill $all 2>/dev/null; exit 1' CHLD;`;

/**
 * Prepares `dir` and returns the command of a small HTTP server that answers `GET /` on every port, over IPv4
 * and IPv6, with the name of the pod and the address it was asked from. busybox: a process of 1 MB, started
 * in a millisecond.
 */
export function answerer(dir: string, ports: readonly number[]): string[] {
  mkdirSync(join(dir, 'cgi-bin'), { recursive: true });
  // A link and not a copy: /run is often mounted noexec.
  const page = join(dir, 'cgi-bin', 'index.cgi');
  rmSync(page, { force: true });
  symlinkSync(PAGE, page);
  const servers = ports.map((port) => `busybox httpd -f -p ${port} -h "$1" & all="$all $!";`);
  return ['sh', '-c', `${ONE_FOR_ALL} ${servers.join(' ')} wait`, 'answerer', dir];
}
