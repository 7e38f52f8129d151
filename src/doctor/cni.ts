import { accessSync, constants, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Paths } from '../agent/options.ts';
import { CONF_LIST_FILE } from '../cni/protocol/conflist.ts';
import { codeOf, messageOf } from '../error.ts';
import { type Finding, note, ok, wrong } from './finding.ts';

/** The files that container runtimes read, in the order in which they do: libcni's ConfFiles. */
const CONFIGURATION = /\.(conf|conflist|json)$/;

/** Devices by which other pod networks are known. */
const FOREIGN: readonly (readonly [pattern: RegExp, program: string])[] = [
  [/^cilium_/, 'Cilium'],
  [/^(weave|datapath)$/, 'Weave Net'],
  [/^kube-bridge$/, 'kube-router'],
  [/^antrea-gw/, 'Antrea'],
  [/^ovn-k8s-/, 'OVN-Kubernetes'],
  [/^(vxlan|wireguard)\.calico$/, 'Calico'],
];

/** Whether runtimes find our configuration and our plugin, and what other networks have left behind. */
export function cniFindings({ cniConf, cniBin }: Paths, devices: readonly string[]): Finding[] {
  return [configuration(cniConf), ...plugins(cniBin), ...leftovers(devices)];
}

function configuration(folder: string): Finding {
  const files = filesIn(folder);
  if (typeof files === 'string') return wrong('cni', `${folder} cannot be read: ${files}`);
  const [first, ...rest] = files.filter((name) => CONFIGURATION.test(name)).sort();
  const ours = join(folder, CONF_LIST_FILE);
  if (first === CONF_LIST_FILE) {
    const others = rest.length > 0 ? `, ahead of ${rest.join(', ')}` : '';
    return ok('cni', `${ours}${others}`);
  }
  if (!rest.includes(CONF_LIST_FILE)) {
    const fix = 'the agent writes it once it is ready';
    return wrong('cni', `${ours} is missing: this node takes no pods of flatnet’s`, {
      cause: first === undefined ? undefined : `runtimes use ${first} instead`,
      fix,
    });
  }
  return wrong('cni', `runtimes use ${join(folder, `${first}`)} instead of ${CONF_LIST_FILE}`, {
    cause: 'they take the first file by name',
    fix: `remove what another network has left: rm ${join(folder, `${first}`)}`,
  });
}

function plugins(folder: string): Finding[] {
  return ['flatnet', 'loopback'].map((name) => {
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      return ok('cni', path);
    } catch (error) {
      const cause = codeOf(error) === 'ENOENT' ? 'it does not exist' : messageOf(error);
      const fix = `flatnet install --cni-bin-dir ${folder}`;
      return wrong('cni', `runtimes cannot run ${path}`, { cause, fix });
    }
  });
}

function leftovers(devices: readonly string[]): Finding[] {
  return FOREIGN.flatMap(([pattern, program]) => {
    const found = devices.filter((name) => pattern.test(name));
    if (found.length === 0) return [];
    const fix = `if ${program} is gone for good, remove its devices or restart the node`;
    return [note('cni', `${found.join(', ')}: devices of ${program}`, { fix })];
  });
}

/** The reason if the folder cannot be read; none in one that does not exist. */
function filesIn(folder: string): readonly string[] | string {
  try {
    return readdirSync(folder);
  } catch (error) {
    return codeOf(error) === 'ENOENT' ? [] : messageOf(error);
  }
}
