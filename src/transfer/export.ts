import { titleOf } from '../cluster/calico/document.ts';
import { knownPart } from '../cluster/calico/known.ts';
import { parseJson } from '../cluster/json.ts';
import type { Node } from '../cluster/node.ts';
import { FlatnetError } from '../error.ts';
import { problemText } from '../problem.ts';
import type { ClusterView } from '../store/ports/feed.ts';
import type { Store } from '../store/ports/store.ts';
import { type Contents, plain } from './contents.ts';

/** Milliseconds within which a store that answers lists everything. */
const PATIENCE = 60_000;

export type Exported = {
  readonly contents: Contents;
  /** What is in the store but not in the contents, and why. */
  readonly leftOut: readonly string[];
};

/** Reads all that a store knows. Throws NOT_FOUND or CONFIG_INVALID without a usable network. */
export async function exportStore({
  network,
  feed,
  membership,
  resources,
  blocks,
  policyObjects,
}: Store): Promise<Exported> {
  const { addresses } = await network.read();
  const text = await network.text();
  const leftOut: string[] = [];
  const view = await firstView(feed);
  leftOut.push(...feed.problems.map(problemText));
  const applied = await resources.list(undefined, (problem) => leftOut.push(problem));
  const { config, ...ipam } = await blocks.snapshot();
  leftOut.push(...ipam.unreadable.map(({ object, problem }) => `${object}: ${problem}`));
  const affinities = await blocks.affinities();
  for (const { node, subnets, reserved } of await membership.members()) {
    if (reserved) leftOut.push(`${subnets.join(', ')} is reserved for ${node}; reserve it again`);
  }
  const policies = await policyObjects?.list((problem) => leftOut.push(problem));
  if (policies && policies.length > 0)
    leftOut.push(`policies, and what belongs to them (${policies.length}): flatnet policy list -o yaml`);
  const contents: Contents = {
    network: parseJson(text?.value ?? '{}'),
    nodes: view.nodes.flatMap((node) => leaseOf(node, addresses !== 'lease', leftOut)),
    resources: applied
      // What another program's objects have beyond that is named, and no store of ours takes it.
      .map(({ document, foreign }) => plain(foreign ? knownPart(document) : document))
      .sort((a, b) => (titleOf(a) < titleOf(b) ? -1 : 1)),
    config,
    blocks: ipam.blocks.map(({ value }) => value).sort((a, b) => (a.cidr < b.cidr ? -1 : 1)),
    affinities: affinities.map(({ value }) => value),
  };
  return { contents, leftOut: [...new Set(leftOut)] };
}

async function firstView(feed: Store['feed']): Promise<ClusterView> {
  const signal = AbortSignal.timeout(PATIENCE);
  for await (const view of feed.watch(signal)) return view;
  const [problem] = feed.problems;
  throw new FlatnetError(problem ? problemText(problem) : `it has not listed all in ${PATIENCE / 1000} s`, {
    code: 'STORE_UNAVAILABLE',
    operation: 'store export',
  });
}

/** A node with its lease alone, if nodes have any: its blocks are objects of their own. */
function leaseOf(node: Node, hasNone: boolean, leftOut: string[]): Node[] {
  if (hasNone) return [{ ...node, subnets: [] }];
  if (node.subnets.length > 0) return [node];
  leftOut.push(`node ${node.name} has no subnet`);
  return [];
}
