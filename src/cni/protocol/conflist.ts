import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { readIfThere } from '../../if-there.ts';
import { replaceFile } from '../../replace-file.ts';
import type { AgentPlace } from '../shim/agent-file.ts';
import { TYPE } from './conf.ts';
import { ANNOTATIONS } from './pod.ts';

/** Sorts after flannel's `10-flannel.conflist`: runtimes use the first file in the directory. */
export const CONF_LIST_FILE = '10-flatnet.conflist';

/** Renders the runtime's network configuration. It uses flannel's network name to keep its reservations. */
export function renderConfList(place: AgentPlace): string {
  const list = {
    name: 'cbr0',
    // libcni up to 1.1.2 knows only this key and rejects newer results; since 1.2 it uses the newest in the
    // list.
    cniVersion: '1.0.0',
    cniVersions: ['0.3.1', '0.4.0', '1.0.0', '1.1.0'],
    plugins: [
      {
        type: TYPE,
        ...place,
        // Runtimes silently drop undeclared capabilities: a pod that wants host ports would start without
        // them. We declare them and reject such a pod.
        capabilities: {
          ips: true,
          mac: true,
          portMappings: true,
          bandwidth: true,
          [ANNOTATIONS]: true,
        },
      },
    ],
  };
  return `${JSON.stringify(list, undefined, 2)}\n`;
}

/** Replaces the file, and only when it changes. Returns whether it was written. */
export function writeConfList(confDir: string, text: string): boolean {
  const path = join(confDir, CONF_LIST_FILE);
  if (readIfThere(path) === text) return false;
  mkdirSync(confDir, { recursive: true, mode: 0o755 });
  replaceFile(path, text, { mode: 0o644, flush: true });
  return true;
}

/** Removes it: the node then takes no pods. Returns the path if it was there. */
export function removeConfList(confDir: string): string[] {
  const path = join(confDir, CONF_LIST_FILE);
  if (readIfThere(path) === undefined) return [];
  rmSync(path);
  return [path];
}
