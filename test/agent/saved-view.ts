import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Lab } from '../../src/lab/record/lab.ts';

type SavedNode = { readonly name: string; readonly subnets: readonly string[] };

/**
 * Changes the nodes in the last view that an agent has saved. It may be a second older than the end of that
 * agent: lack nodes that had just joined, or blocks that had just been claimed.
 */
export function changeSavedView(
  lab: Lab,
  node: string,
  change: (nodes: readonly SavedNode[]) => readonly SavedNode[],
): void {
  const file = join(lab.paths.node(node).agent.state, 'view.json');
  const view: { readonly nodes: readonly SavedNode[] } = JSON.parse(readFileSync(file, 'utf8'));
  writeFileSync(file, JSON.stringify({ ...view, nodes: change(view.nodes) }));
}
