import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Fields } from '../cluster/fields.ts';
import { replaceFile } from '../replace-file.ts';
import { type ConfList, readConfList } from './conf-list.ts';

/** An interface of a container on one network. */
export type Attachment = { readonly containerId: string; readonly ifName: string };

type Remembered = {
  readonly network: ConfList;
  readonly args: Readonly<Record<string, string>>;
  readonly capabilities: Readonly<Record<string, unknown>>;
  readonly result: unknown;
};

/** Writes libcni's cache file, `<cacheDir>/results/<network>-<containerID>-<ifname>`. */
export function writeAttachment(
  cacheDir: string,
  network: ConfList,
  options: Attachment & {
    readonly netns: string;
    readonly args?: Readonly<Record<string, string>>;
    readonly capabilities?: Readonly<Record<string, unknown>>;
  },
  result: unknown,
): void {
  const path = fileOf(cacheDir, network.name, options);
  const entry = {
    kind: 'cniCacheV1',
    containerId: options.containerId,
    config: Buffer.from(JSON.stringify(network)).toString('base64'),
    ifName: options.ifName,
    networkName: network.name,
    netns: options.netns,
    cniArgs: Object.entries(options.args ?? {}),
    capabilityArgs: options.capabilities ?? {},
    result,
  };
  mkdirSync(join(cacheDir, 'results'), { recursive: true, mode: 0o700 });
  replaceFile(path, JSON.stringify(entry), { mode: 0o600 });
}

/** Returns the cached attachment, if any; a damaged file counts as none, so that DEL still works. */
export function readAttachment(
  cacheDir: string,
  network: string,
  attachment: Attachment,
): Remembered | undefined {
  try {
    const text = readFileSync(fileOf(cacheDir, network, attachment), 'utf8');
    const entry = new Fields(JSON.parse(text));
    const config: unknown = JSON.parse(Buffer.from(entry.string('config') ?? '', 'base64').toString());
    const args = (entry.list('cniArgs') ?? []) as readonly [string, string][];
    return {
      network: readConfList(config),
      args: Object.fromEntries(args),
      capabilities: (entry.raw('capabilityArgs') ?? {}) as Record<string, unknown>,
      result: entry.raw('result'),
    };
  } catch {
    return undefined;
  }
}

export function dropAttachment(cacheDir: string, network: string, attachment: Attachment): void {
  rmSync(fileOf(cacheDir, network, attachment), { force: true });
}

function fileOf(cacheDir: string, network: string, { containerId, ifName }: Attachment): string {
  return join(cacheDir, 'results', `${network}-${containerId}-${ifName}`);
}
