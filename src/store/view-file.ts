import { open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { networkToNetConf, readNetwork } from '../cluster/network.ts';
import type { Node } from '../cluster/node.ts';
import { NO_RESOURCES, type Resources } from '../cluster/resources.ts';
import type { ClusterView } from './ports/feed.ts';

const VERSION = 1;

/**
 * Saves the last good view for agents that start while the store is unreachable. Atomic: readers see either
 * the old file or the new one in full, even after a power cut. Mode 0600.
 */
export async function writeView(file: string, { network, nodes, resources }: ClusterView): Promise<void> {
  // Stores the network as its configuration, so that later releases can fill in defaults unknown to this one.
  const text = JSON.stringify({
    version: VERSION,
    // Earlier releases kept the store's revision here and reject files without it.
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

/** Reads the last saved view; undefined when missing or unreadable by this release. */
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

/** Earlier releases stored no resources. */
function resourcesFrom(value: unknown): Resources {
  return typeof value === 'object' && value !== null ? { ...NO_RESOURCES, ...value } : NO_RESOURCES;
}

function isNode(value: unknown): value is Node {
  if (typeof value !== 'object' || value === null) return false;
  const { name, labels, addresses, subnets, backend } = value as Partial<Record<keyof Node, unknown>>;
  const isObject = (field: unknown): boolean => typeof field === 'object' && field !== null;
  return typeof name === 'string' && Array.isArray(subnets) && [labels, addresses, backend].every(isObject);
}
