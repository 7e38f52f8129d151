import { checkPools } from '../cluster/calico/change.ts';
import { decode, poolsOf } from '../cluster/calico/decode.ts';
import { type Document, readDocument, titleOf } from '../cluster/calico/document.ts';
import { Fields } from '../cluster/fields.ts';
import { isLabelKey, isLabelValue } from '../cluster/labels.ts';
import { readNetwork, refuseOverlap } from '../cluster/network.ts';
import type { Node } from '../cluster/node.ts';
import { FlatnetError, messageOf } from '../error.ts';
import { hostCidr } from '../ip/cidr.ts';
import { findings } from '../ipam/blocks/check.ts';
import { handlesOf } from '../ipam/blocks/repair.ts';
import type { Affinity, Block, Stored, Version } from '../store/ports/blocks.ts';
import type { CheckNetwork } from '../store/ports/network.ts';
import { readConfig } from '../store/values/blocks.ts';
import { type Contents, KIND, plain, VERSION } from './contents.ts';
import { readAffinity, readCheckedBlock } from './read-ipam.ts';
import { checkNodes, readNode } from './read-node.ts';

/**
 * Reads a file's value, and checks each entry by itself and all together. Throws CONFIG_INVALID naming the
 * field. `check`: as in `NetworkStore`.
 */
export function readContents(value: unknown, check: CheckNetwork): Contents {
  const file = new Fields(value);
  readHeader(file);
  const network = within(file, 'network', () => {
    const read = readNetwork(file.raw('network') ?? {});
    check(read);
    return read;
  });
  const nodes = entries(file, 'nodes').map((fields) => readNode(fields, network));
  checkNodes(nodes);
  for (const node of nodes) {
    const own = Object.values(node.addresses).map(hostCidr);
    within(file, 'network', () => refuseOverlap(network, `the address of node ${node.name}`, own));
  }
  const resources = readResources(file, nodes);
  const ipam = file.object('ipam') ?? new Fields({}, 'ipam');
  const config = readConfig(ipam.object('config') ?? new Fields({}, 'ipam.config'));
  const blocks = entries(ipam, 'blocks').map(readCheckedBlock);
  const affinities = entries(ipam, 'affinities').map(readAffinity);
  ipam.refuseUnread();
  file.refuseUnread();
  checkIpam(blocks, affinities);
  return { network: file.raw('network'), nodes, resources, config, blocks, affinities };
}

function readHeader(file: Fields): void {
  if (file.string('kind') !== KIND) {
    throw file.invalid('kind', `must be ${KIND}: this is not what flatnet store export writes`);
  }
  const version = file.raw('version');
  if (version === VERSION) return;
  throw file.invalid(
    'version',
    `${JSON.stringify(version) ?? 'missing'} is not known; this release reads ${VERSION}`,
  );
}

function readResources(file: Fields, nodes: readonly Node[]): Document[] {
  const titles = new Set<string>();
  const documents = entries(file, 'resources').map((fields) => {
    const document = readDocument(fields.source, `${fields.path}: `);
    decode(document, `${fields.path}: `);
    checkLabels(fields, document.metadata.labels ?? {});
    const title = titleOf(document);
    if (titles.has(title)) throw fields.invalid('metadata.name', `${title} is there twice`);
    titles.add(title);
    return plain(document);
  });
  within(file, 'resources', () => checkPools(poolsOf(documents), { pools: [], nodes }));
  return documents;
}

/** Every store takes Kubernetes' labels; its API refuses others. */
function checkLabels(fields: Fields, labels: Readonly<Record<string, string>>): void {
  for (const [key, value] of Object.entries(labels)) {
    if (isLabelKey(key) && isLabelValue(value)) continue;
    throw fields.invalid('metadata.labels', `'${key}: ${value}' is no label in Kubernetes`);
  }
}

/** What `flatnet ipam check` calls an error would be one in the other store too. */
function checkIpam(blocks: readonly Block[], affinities: readonly Affinity[]): void {
  const handles = [...handlesOf(blocks)].map(([id, value]) => [id, stored(value)] as const);
  const [error] = findings({
    config: readConfig(new Fields({})),
    blocks: blocks.map(stored),
    affinities: affinities.map(stored),
    handles: new Map(handles),
    unreadable: [],
  }).filter(({ severity }) => severity === 'error');
  if (!error) return;
  throw new FlatnetError(`${error.object} ${error.text}`, {
    code: 'CONFIG_INVALID',
    object: 'ipam',
    fix: 'run flatnet ipam check --repair on the store it comes from, and export again',
  });
}

function stored<T>(value: T): Stored<T> {
  return { value, version: '' as Version };
}

function entries(fields: Fields, name: string): Fields[] {
  const path = fields.path === '' ? name : `${fields.path}.${name}`;
  return (fields.list(name) ?? []).map((value, i) => new Fields(value, `${path}[${i}]`));
}

/** Names the part of the file in the errors of what knows nothing of files. */
function within<T>(file: Fields, name: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw file.invalid(name, messageOf(error), error);
  }
}
