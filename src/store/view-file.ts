import { open, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type Network, networkToNetConf, readNetwork } from '../cluster/network.ts';
import { NO_RESOURCES } from '../cluster/resources.ts';
import { codeOf, FlatnetError, messageOf } from '../error.ts';
import { replaceFileFlushed } from '../replace-file.ts';
import type { ClusterView } from './ports/feed.ts';
import { isNode, isResources } from './view-shape.ts';

const VERSION = 1;

/** Networks by backend, the latest last; undefined if it is not known any more what the network was. */
export type Formers = ReadonlyMap<string, Network | undefined>;

/** `formers`: those whose backends the present network's has replaced, while they are still needed. */
export type SavedView = ClusterView & { readonly formers: Formers };

/**
 * Saves the last good view for agents that start while the store is unreachable. Atomic: readers see either
 * the old file or the new one in full, even after a power cut. Mode 0600.
 */
export async function writeView(file: string, saved: SavedView): Promise<void> {
  const { network, nodes, resources, formers } = saved;
  const conf = (each: Network): unknown => JSON.parse(networkToNetConf(each));
  // Stores the network as its configuration, so that later releases can fill in defaults unknown to this one.
  const text = JSON.stringify({
    version: VERSION,
    // Earlier releases kept the store's revision here and reject files without it.
    revision: 0,
    network: conf(network),
    nodes,
    resources,
    ...(formers.size > 0 && {
      formerBackends: [...formers.keys()],
      // All that earlier releases know of.
      formers: [...formers.values()].flatMap((former) => (former ? [conf(former)] : [])),
    }),
  });
  await replaceFileFlushed(file, text, 0o600);
  const folder = await open(dirname(file));
  await folder.sync().finally(() => folder.close());
}

/**
 * Reads the last saved view; undefined when missing or unusable by this release. `ignored` is told why an
 * existing one is: nothing in the file, however it got there, may keep an agent from starting.
 */
export async function readView(
  file: string,
  ignored: (reason: string) => void = () => {},
): Promise<SavedView | undefined> {
  try {
    return viewFrom(JSON.parse(await readFile(file, 'utf8')));
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') ignored(messageOf(error));
    return undefined;
  }
}

/** Throws CONFIG_INVALID. A node in another shape is left out: one peer must not cost the others. */
function viewFrom(value: unknown): SavedView {
  if (typeof value !== 'object' || value === null) throw invalid('it is no object');
  const fields = value as Record<string, unknown>;
  const { version, network, nodes, resources, formers = [], formerBackends = [] } = fields;
  if (version !== VERSION) throw invalid(`its version is not ${VERSION}`);
  if (!Array.isArray(nodes)) throw invalid('nodes is no list');
  if (!Array.isArray(formers)) throw invalid('formers is no list');
  if (!Array.isArray(formerBackends)) throw invalid('formerBackends is no list');
  // Earlier releases stored no resources, or fewer.
  const all: unknown = { ...NO_RESOURCES, ...(typeof resources === 'object' && resources) };
  if (!isResources(all)) throw invalid('resources have another shape');
  return {
    network: readNetwork(network),
    resources: all,
    nodes: nodes.filter(isNode),
    formers: new Map([
      ...formerBackends.filter(isString).map((backend) => [backend, undefined] as const),
      ...formers.flatMap(readableNetwork).map((former) => [former.backend.type, former] as const),
    ]),
  };
}

function isString(value: unknown): value is string {
  return typeof value === 'string';
}

/** None if a later release has written one that this one does not understand. */
function readableNetwork(value: unknown): Network[] {
  try {
    return [readNetwork(value)];
  } catch {
    return [];
  }
}

function invalid(text: string): FlatnetError {
  return new FlatnetError(text, { code: 'CONFIG_INVALID', object: 'the saved view' });
}
