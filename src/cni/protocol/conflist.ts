import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Network } from '../../cluster/network.ts';
import { codeOf } from '../../error.ts';
import type { AgentPlace } from '../shim/agent-file.ts';
import { TYPE } from './conf.ts';
import { ANNOTATIONS } from './pod.ts';

/** Sorts after flannel's `10-flannel.conflist`: runtimes take the first file of the folder. */
export const CONF_LIST_FILE = '10-flatnet.conflist';

/**
 * The network for the runtime. It has the name of flannel's, so flannel's folder of reservations stays in
 * use.
 */
export function renderConfList(place: AgentPlace, wiring: Network['wiring']): string {
  const list = {
    name: 'cbr0',
    // libcni up to 1.1.2 knows only this key and refuses newer results; since 1.2 it takes the newest of the
    // list.
    cniVersion: '1.0.0',
    cniVersions: ['0.3.1', '0.4.0', '1.0.0', '1.1.0'],
    plugins: [
      {
        type: TYPE,
        ...place,
        // Runtimes silently drop what is not declared: a pod that wants host ports would start without
        // them. We declare them, and refuse such a pod.
        capabilities: {
          ips: true,
          mac: true,
          portMappings: true,
          bandwidth: true,
          ...(wiring === 'routed' && { [ANNOTATIONS]: true }),
        },
      },
    ],
  };
  return `${JSON.stringify(list, undefined, 2)}\n`;
}

/**
 * Writes the file in one piece, and only when it changes. The new file is made in the same folder: containerd
 * misses one that is moved in from another (containerd #11711). Returns whether it was written.
 */
export function writeConfList(confDir: string, text: string): boolean {
  const path = join(confDir, CONF_LIST_FILE);
  if (readIfThere(path) === text) return false;
  mkdirSync(confDir, { recursive: true, mode: 0o755 });
  // No runtime reads files with this suffix.
  const temporary = `${path}.new`;
  writeFileSync(temporary, text, { mode: 0o644 });
  renameSync(temporary, path);
  return true;
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
