import { open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { networkToNetConf, readNetwork } from '../cluster/network.ts';
import type { Node } from '../cluster/node.ts';
import { NO_RESOURCES, type Resources } from '../cluster/resources.ts';
import type { ClusterView } from './ports/feed.ts';

const VERSION = 1;

/**
 * Keeps the last good view for a start while the store is away. A reader sees the old file or the new one,
 * whole, also after a power cut. Mode 0600.
 */
export async function writeView(file: string, { network, nodes, resources }: ClusterView): Promise<void> {
  // The network as its configuration, so that a later release fills in what this one does not know.
  const text = JSON.stringify({
    version: VERSION,
    // Releases that kept the store's revision here accept no file without it.
    revision: 0,
    network: JSON.parse(networkToNetConf(network)),
    nodes,
    resources,
  });
  const temporary = `${file}.${process.pid}.tmp`;
  try {
    const handle = await open(temporary, 'w', 0o600);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  const folder = await open(dirname(file));
  await folder.sync().finally(() => folder.close());
}

/** The view last written; undefined when there is none that this release can read. */
export async function readView(file: string): Promise<ClusterView | undefined> {
  try {
    const value: unknown = JSON.parse(await readFile(file, 'utf8'));
    if (typeof value !== 'object' || value === null) return undefined;
    const { version, network, nodes, resources } = value as Record<string, unknown>;
    if (version !== VERSION || !Array.isArray(nodes)) return undefined;
    return {
      network: readNetwork(network),
      resources: resourcesFrom(resources),
      nodes: nodes.filter(isNode),
    };
  } catch {
    return undefined;
  }
}

/** A former release wrote none. */
function resourcesFrom(value: unknown): Resources {
  return typeof value === 'object' && value !== null ? { ...NO_RESOURCES, ...value } : NO_RESOURCES;
}

function isNode(value: unknown): value is Node {
  if (typeof value !== 'object' || value === null) return false;
  const { name, labels, addresses, subnets, backend } = value as Partial<Record<keyof Node, unknown>>;
  const isObject = (field: unknown): boolean => typeof field === 'object' && field !== null;
  return typeof name === 'string' && Array.isArray(subnets) && [labels, addresses, backend].every(isObject);
}
