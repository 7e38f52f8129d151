import { pause } from '../async/pause.ts';
import type { Node } from '../cluster/node.ts';
import { messageOf } from '../error.ts';
import { removeNode } from '../ipam/blocks/forget-node.ts';
import type { Log } from '../log.ts';
import type { BlockStore } from '../store/ports/blocks.ts';
import type { Duties } from '../store/ports/duties.ts';

/** Milliseconds between looks for nodes that are gone. */
const INTERVAL = 5 * 60_000;
/** Milliseconds a node must have been gone: one whose Node object was deleted by mistake soon returns. */
const GRACE = 15 * 60_000;

export type DepartedOptions = {
  readonly node: string;
  readonly duties: Duties | undefined;
  readonly blocks: BlockStore;
  /** The members of the cluster as last seen: about those, the store is not asked. */
  readonly nodes: () => readonly Pick<Node, 'name'>[];
  /** Whether this node is a member of a network with blocks. */
  readonly usesBlocks: () => boolean;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** Milliseconds. */
  readonly interval?: number;
  readonly grace?: number;
};

/**
 * Frees the blocks and addresses of nodes that left the cluster, until the signal aborts: one agent does it
 * for all, where the store has such duties. Otherwise `flatnet forget` does.
 */
export async function collectDeparted(options: DepartedOptions): Promise<void> {
  const { node, duties, usesBlocks, signal, interval = INTERVAL } = options;
  if (!duties) return;
  while (await pause(interval, signal)) {
    if (usesBlocks()) return duties.share(node, (elected) => collect(duties, options, elected), signal);
  }
}

/** Collects for as long as this agent is elected. */
async function collect(duties: Duties, options: DepartedOptions, elected: AbortSignal): Promise<void> {
  const { blocks, nodes, log, interval = INTERVAL, grace = GRACE } = options;
  let gone: ReadonlyMap<string, number> = new Map();
  do {
    try {
      const now = performance.now();
      const owners = new Set((await blocks.affinities()).map(({ value }) => value.node));
      const next = new Map<string, number>();
      for (const { name } of nodes()) owners.delete(name);
      for (const owner of owners) {
        if (!(await duties.isGone(owner))) continue;
        const since = gone.get(owner) ?? now;
        next.set(owner, since);
        if (now - since < grace || elected.aborted) continue;
        const removed = await removeNode(blocks, owner);
        log.info({ node: owner, ...removed }, 'freed the blocks of a node that is gone');
      }
      gone = next;
    } catch (error) {
      if (!elected.aborted)
        log.warn({ reason: messageOf(error) }, 'cannot collect blocks of nodes that are gone');
    }
  } while (await pause(interval, elected));
}
