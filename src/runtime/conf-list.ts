import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Fields } from '../cluster/fields.ts';
import { parseJson } from '../cluster/json.ts';
import { newest, type Version } from '../cni/protocol/version.ts';
import { FlatnetError, messageOf } from '../error.ts';

/** A network configuration list: plugins that wire one interface, in order. */
export type ConfList = {
  readonly name: string;
  /** The newest version offered by the list that we support. */
  readonly cniVersion: Version;
  readonly disableCheck: boolean;
  readonly disableGC: boolean;
  readonly plugins: readonly PluginConf[];
};

export type PluginConf = Readonly<Record<string, unknown>> & { readonly type: string };

/** The network that containerd runs for `lo`, in addition to the pod network. */
export const LOOPBACK_NETWORK: ConfList = readConfList({
  cniVersion: '0.3.1',
  name: 'cni-loopback',
  plugins: [{ type: 'loopback' }],
});

/**
 * Reads the first configuration of a folder, by file name, like containerd. Throws NOT_FOUND or
 * CONFIG_INVALID.
 */
export function loadConfList(confDir: string): ConfList {
  const file = names(confDir).find((name) => /\.(conf|conflist|json)$/.test(name));
  if (!file) throw new FlatnetError(`no network configuration in ${confDir}`, { code: 'NOT_FOUND' });
  const path = join(confDir, file);
  try {
    return readConfList(parseJson(readFileSync(path, 'utf8')));
  } catch (error) {
    throw new FlatnetError(messageOf(error), { code: 'CONFIG_INVALID', object: path, cause: error });
  }
}

/** Reads a list, or a single plugin's configuration as a list of one. */
export function readConfList(value: unknown): ConfList {
  const fields = new Fields(value);
  const name = fields.string('name');
  if (!name) throw fields.invalid('name', 'is missing');
  const offered = [fields.string('cniVersion') ?? '0.1.0', ...(fields.list('cniVersions') ?? []).map(String)];
  const cniVersion = newest(offered);
  if (!cniVersion) throw fields.invalid('cniVersion', `none of ${offered.join(', ')} is supported`);
  return {
    name,
    cniVersion,
    disableCheck: flag(fields, 'disableCheck'),
    disableGC: flag(fields, 'disableGC'),
    plugins: (fields.list('plugins') ?? [value]).map((conf, i) => readPlugin(conf, `plugins[${i}]`)),
  };
}

function readPlugin(value: unknown, path: string): PluginConf {
  const fields = new Fields(value, path);
  const type = fields.string('type');
  if (!type) throw fields.invalid('type', 'is missing');
  return { ...(value as Record<string, unknown>), type };
}

/** The specification allows these as booleans and, since 1.1.0, as strings. */
function flag(fields: Fields, name: string): boolean {
  const value = fields.raw(name);
  return value === true || value === 'true';
}

function names(dir: string): string[] {
  try {
    return readdirSync(dir).sort();
  } catch (error) {
    throw new FlatnetError(messageOf(error), { code: 'NOT_FOUND', object: dir, cause: error });
  }
}
