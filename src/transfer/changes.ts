import { checkPools } from '../cluster/calico/change.ts';
import { poolsOf } from '../cluster/calico/decode.ts';
import { type Document, titleOf } from '../cluster/calico/document.ts';
import { parseJson } from '../cluster/json.ts';
import { codeOf, FlatnetError } from '../error.ts';
import type { Placement } from '../store/ports/membership.ts';
import { ABSENT, type ResourceStore } from '../store/ports/resources.ts';
import type { Store } from '../store/ports/store.ts';
import { type Change, difference } from './change.ts';
import { type Contents, plain } from './contents.ts';
import { ipamChanges } from './ipam-changes.ts';

/** Compares contents with a store, in the order of writing: the network is last, as agents wait for it. */
export async function changesOf(contents: Contents, store: Store): Promise<Change[]> {
  return [
    ...(await ipamChanges(contents, store.blocks)),
    ...(await resourceChanges(contents, store.resources)),
    ...(await nodeChanges(contents, store)),
    await networkChange(contents, store),
  ];
}

async function resourceChanges({ resources, nodes }: Contents, store: ResourceStore): Promise<Change[]> {
  if (resources.length === 0) return [];
  const occupied = await store.occupied();
  checkPools(poolsOf(resources), { pools: occupied.pools, nodes: [...occupied.nodes, ...nodes] });
  const applied = await store.list(undefined, () => {});
  const own = applied.filter(({ foreign }) => !foreign);
  const known = new Map(own.map(({ document }) => [titleOf(document), document]));
  const changes: Change[] = [];
  for (const document of resources) {
    const object = titleOf(document);
    const found = known.get(object);
    const { metadata } = document;
    // What somebody else creates or changes from here on stays.
    const at = (resourceVersion: string | undefined) => async (): Promise<unknown> =>
      store.apply(resourceVersion ? { ...document, metadata: { ...metadata, resourceVersion } } : document);
    if (found) {
      const write = at(found.metadata.resourceVersion);
      changes.push({ object, ...difference(plain(found), document), write });
    } else {
      const change = await unlisted(store, document);
      changes.push({ object, ...change, write: at(change.state === 'absent' ? ABSENT : undefined) });
    }
  }
  return changes;
}

/** A resource that is not listed is absent or cannot be read. */
async function unlisted(
  store: ResourceStore,
  { kind, metadata }: Document,
): Promise<Pick<Change, 'state' | 'why'>> {
  try {
    const { foreign } = await store.get(kind, metadata.name);
    if (foreign) return { state: 'absent' };
    throw new FlatnetError('has been created meanwhile', { code: 'STORE_CONFLICT', object: metadata.name });
  } catch (error) {
    if (codeOf(error) === 'NOT_FOUND') return { state: 'absent' };
    if (codeOf(error) === 'CONFIG_INVALID') return { state: 'different', why: 'cannot be read' };
    throw error;
  }
}

async function nodeChanges({ nodes }: Contents, { membership }: Store): Promise<Change[]> {
  if (nodes.length === 0) return [];
  const placements = await membership.place(nodes, true);
  const absent = nodes.filter((_, i) => placements[i]?.outcome === 'placed');
  let placing: Promise<unknown> | undefined;
  // All at once: what else is there is read once.
  const write = (): Promise<unknown> => (placing ??= membership.place(absent).then(assertPlaced));
  return placements.map((placement): Change => {
    const object = `node ${placement.node}`;
    if (placement.outcome === 'refused') return { object, state: 'refused', why: placement.reason, write };
    return { object, state: placement.outcome === 'placed' ? 'absent' : 'same', write };
  });
}

function assertPlaced(placements: readonly Placement[]): void {
  const refused = placements.flatMap((each) =>
    each.outcome === 'refused' ? [`${each.node}: ${each.reason}`] : [],
  );
  if (refused.length === 0) return;
  throw new FlatnetError(`nodes cannot be placed any more: ${refused.join('; ')}`, {
    code: 'STORE_CONFLICT',
    operation: 'store import',
    fix: 'stop the agents of both stores',
  });
}

async function networkChange({ network }: Contents, store: Store): Promise<Change> {
  const found = await store.network.text();
  const object = 'network';
  const write = (): Promise<void> => store.network.replace(found, `${JSON.stringify(network, null, 2)}\n`);
  if (!found) return { object, state: 'absent', write };
  return { object, ...difference(parsed(found.value), network), write };
}

function parsed(text: string): unknown {
  try {
    return parseJson(text);
  } catch {
    return undefined;
  }
}
