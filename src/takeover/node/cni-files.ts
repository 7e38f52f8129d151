import { existsSync, mkdirSync, readFileSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Fields } from '../../cluster/fields.ts';
import { readHostPorts } from '../../cni/capabilities/host-ports.ts';
import { decodeResult } from '../../cni/protocol/result.ts';
import { codeOf, messageOf } from '../../error.ts';
import { namesIn } from '../../if-there.ts';
import { isIp } from '../../ip/address.ts';
import { parseMac } from '../../ip/mac.ts';
import { HostLocal } from '../../ipam/host-local.ts';
import type { FoundConf, FoundReservation, FoundResult } from '../flannel/found.ts';

/** The runtime's configurations, in the order in which it reads them. */
export function readConfs(dir: string): FoundConf[] {
  const names = namesIn(dir).filter((name) => /\.(conf|conflist|json)$/.test(name));
  return names.toSorted().map((name) => readConf(join(dir, name)));
}

function readConf(file: string): FoundConf {
  try {
    const conf = new Fields(JSON.parse(readFileSync(file, 'utf8')));
    const plugins = conf.list('plugins')?.map((plugin) => new Fields(plugin)) ?? [conf];
    const flannel = plugins.find((plugin) => plugin.string('type') === 'flannel');
    const delegate = flannel?.object('delegate') ?? new Fields({});
    return {
      file,
      name: conf.string('name') ?? '',
      types: plugins.map((plugin) => plugin.string('type') ?? ''),
      ...(flannel && {
        delegate: { type: delegate.string('type') ?? 'bridge', bridge: delegate.string('bridge') ?? 'cni0' },
      }),
    };
  } catch (error) {
    return { file, name: '', types: [], problem: messageOf(error) };
  }
}

/** host-local's reservations of these networks. `unread` gets the reason if a folder cannot be read. */
export function readReservations(
  dataDir: string,
  networks: readonly string[],
  unread: string[],
): FoundReservation[] {
  const dirs = [...new Set(networks)].map((name) => join(dataDir, name)).filter((dir) => existsSync(dir));
  return dirs.flatMap((dir) => {
    try {
      const all = HostLocal.open(dir, []).list();
      return all.map((reservation) => ({
        dir,
        ...reservation,
        isNew: restOfAdd(join(dir, reservation.ip)) > 0,
      }));
    } catch (error) {
      unread.push(messageOf(error));
      return [];
    }
  });
}

/**
 * Moves host-local's reservations from one network's folder to another's, each at once: at no time is an
 * address free. One that is there for another pod stays where it is: returns which.
 */
export function moveReservations(from: string, to: string): readonly string[] {
  mkdirSync(to, { recursive: true });
  const names = namesIn(from).filter((name) => isIp(name));
  return names.filter((name) => moved(join(from, name), join(to, name)) === 'taken');
}

/** Tells whether it moved. A DEL may free it at any time. */
function moved(from: string, to: string): 'moved' | 'taken' | 'gone' {
  try {
    if (existsSync(to) && readFileSync(from, 'utf8') !== readFileSync(to, 'utf8')) return 'taken';
    renameSync(from, to);
    return 'moved';
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return 'gone';
    throw error;
  }
}

/** Milliseconds; longer than an ADD takes. Runtimes write down its result last. */
const ADD_PATIENCE = 30_000;
/** A file's time is finer than `Date.now`, in milliseconds, and so may lie ahead of it. */
const AHEAD = 10;

/** Milliseconds that the ADD of a reservation may still take. */
export function restOfAdd(file: string): number {
  const made = statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const age = Date.now() - made;
  return age < -AHEAD || age > ADD_PATIENCE ? 0 : ADD_PATIENCE - Math.max(0, age);
}

/** libcni's files of these networks. One that cannot be read says nothing: `unread` gets the reason. */
export function readResults(dir: string, networks: readonly string[], unread: string[]): FoundResult[] {
  const names = namesIn(dir).filter((name) => networks.some((network) => name.startsWith(`${network}-`)));
  return names.flatMap((name) => {
    const file = join(dir, name);
    try {
      return readResult(new Fields(JSON.parse(readFileSync(file, 'utf8'))));
    } catch (error) {
      unread.push(`${file}: ${messageOf(error)}`);
      return [];
    }
  });
}

function readResult(entry: Fields): FoundResult {
  const ifName = entry.string('ifName') ?? '';
  const containerId = entry.string('containerId') ?? '';
  const { interfaces } = decodeResult(entry.raw('result') ?? {}, 'result');
  const inside = interfaces.find(({ name, sandbox }) => name === ifName && sandbox);
  const outside = interfaces.find(({ name, sandbox }) => name.startsWith('veth') && !sandbox);
  const args = new Map(
    (entry.list('cniArgs') ?? []).flatMap((pair) =>
      Array.isArray(pair) ? [[String(pair[0]), String(pair[1])]] : [],
    ),
  );
  const [namespace, podName] = [args.get('K8S_POD_NAMESPACE'), args.get('K8S_POD_NAME')];
  const capabilities = entry.object('capabilityArgs') ?? new Fields({});
  return {
    containerId,
    ifName,
    ...(outside && { hostDevice: outside.name }),
    ...(inside?.mac && { mac: parseMac(inside.mac) }),
    ...(namespace && { namespace }),
    ...(podName && { podName }),
    hostPorts: readHostPorts(new Fields({ runtimeConfig: capabilities.source })),
    isLimited: capabilities.has('bandwidth'),
  };
}
