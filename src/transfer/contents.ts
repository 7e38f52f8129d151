import type { Document } from '../cluster/calico/document.ts';
import type { Node } from '../cluster/node.ts';
import type { Affinity, Block, IpamConfig } from '../store/ports/blocks.ts';
import { writeBlock } from '../store/values/blocks.ts';

/**
 * What a store knows of a cluster. Handles are missing: they follow from the blocks. So does what agents
 * write about themselves anew, such as their claims' instances.
 */
export type Contents = {
  /** net-conf.json, parsed. */
  readonly network: unknown;
  /** Their subnets are leases: none under the `blocks` plan. */
  readonly nodes: readonly Node[];
  /** Without their versions. */
  readonly resources: readonly Document[];
  readonly config: IpamConfig;
  readonly blocks: readonly Block[];
  /** The oldest first. */
  readonly affinities: readonly Affinity[];
};

/** What a file of contents begins with; another version has another shape. */
export const KIND = 'FlatnetStore';
export const VERSION = 1;

/** A document without its version, and without empty labels and annotations, which not every store keeps. */
export function plain({ metadata, ...document }: Document): Document {
  const { resourceVersion: _, labels = {}, annotations = {}, ...kept } = metadata;
  return {
    ...document,
    metadata: {
      ...kept,
      ...(Object.keys(labels).length > 0 && { labels }),
      ...(Object.keys(annotations).length > 0 && { annotations }),
    },
  };
}

/** The contents as a file's value, which `readContents` reads. */
export function fileOf({ network, nodes, resources, config, blocks, affinities }: Contents): object {
  return {
    kind: KIND,
    version: VERSION,
    network,
    nodes: nodes.map(({ addresses, ...node }) => ({ ...node, addresses: Object.values(addresses) })),
    resources,
    ipam: { config, blocks: blocks.map(writeBlock), affinities },
  };
}
