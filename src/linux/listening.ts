import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, readSync } from 'node:fs';
import { codeOf } from '../error.ts';

/** Bytes read at a time; a line has 150. */
const CHUNK = 64 << 10;
/** TCP_LISTEN in the `st` column of proc_net_tcp(5). */
const LISTEN = '0A';

/**
 * Returns the inodes of the TCP sockets that listen on `port`, on any address, in the network namespace of
 * process `pid`, like `ss -ltne sport = :PORT`. Throws ENOENT if the process has ended.
 */
export function listeningInodes(pid: number, port: number): number[] {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  return ['tcp', 'tcp6'].flatMap((file) =>
    listeners(`/proc/${pid}/net/${file}`).flatMap(([, local = '', , , , , , , , inode]) =>
      local.endsWith(suffix) ? [Number(inode)] : [],
    ),
  );
}

/**
 * Returns the inodes of the UDP sockets that are bound to `port`, on any address, as seen by this process,
 * also of those that are the kernel's own, such as a VXLAN device's.
 */
export function boundUdpInodes(port: number): number[] {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  return ['udp', 'udp6'].flatMap((file) =>
    readFileSync(`/proc/self/net/${file}`, 'latin1')
      .split('\n')
      .slice(1)
      .map((line) => line.trim().split(/\s+/))
      .flatMap(([, local = '', , , , , , , , inode]) => (local.endsWith(suffix) ? [Number(inode)] : [])),
  );
}

/** The lines of listening sockets, split into columns. They precede all others, which may be many. */
function listeners(path: string): string[][] {
  const found: string[][] = [];
  const fd = openSync(path, 'r');
  try {
    const chunk = Buffer.alloc(CHUNK);
    for (let rest = '', isFirst = true; ; ) {
      const length = readSync(fd, chunk);
      if (length === 0) return found;
      const lines = (rest + chunk.toString('latin1', 0, length)).split('\n');
      rest = lines.pop() ?? '';
      // The first line is a heading.
      for (const line of isFirst ? lines.slice(1) : lines) {
        const columns = line.trim().split(/\s+/);
        if (columns[3] !== LISTEN) return found;
        found.push(columns);
      }
      isFirst = false;
    }
  } finally {
    closeSync(fd);
  }
}

/** Whether a process has one of these sockets open. */
export function holdsSocket(pid: number, inodes: readonly number[]): boolean {
  const names = new Set(inodes.map((inode) => `socket:[${inode}]`));
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => names.has(linkOf(`/proc/${pid}/fd/${fd}`) ?? ''));
  } catch (error) {
    if (['ENOENT', 'ESRCH', 'EACCES'].includes(codeOf(error) ?? '')) return false;
    throw error;
  }
}

/** Undefined for a descriptor that has been closed meanwhile. */
function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch (error) {
    if (['ENOENT', 'ESRCH', 'EACCES'].includes(codeOf(error) ?? '')) return undefined;
    throw error;
  }
}
