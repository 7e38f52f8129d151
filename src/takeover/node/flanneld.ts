import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { codeOf } from '../../error.ts';

/** Processes of flanneld in this network namespace, as far as this program's /proc shows them. */
export function flanneldProcesses(): number[] {
  const own = readlinkSync('/proc/self/ns/net');
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids.filter((pid) => isFlanneld(pid) && namespaceOf(pid) === own).map(Number);
}

function isFlanneld(pid: string): boolean {
  return ifThere(() => readFileSync(`/proc/${pid}/comm`, 'utf8').trim()) === 'flanneld';
}

function namespaceOf(pid: string): string | undefined {
  return ifThere(() => readlinkSync(`/proc/${pid}/ns/net`));
}

/** Undefined if the process has ended. */
function ifThere(read: () => string): string | undefined {
  try {
    return read();
  } catch (error) {
    if (['ENOENT', 'ESRCH', 'EACCES'].includes(codeOf(error) ?? '')) return undefined;
    throw error;
  }
}
