import { closeSync } from 'node:fs';
import { FlatnetError } from '../../error.ts';
import type { Request } from '../../linux/netlink/message.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../../linux/netlink/socket.ts';
import { anonymousNetns } from '../../linux/netns.ts';
import { ELEMENTS_PER_MESSAGE, elementCreate, elementDelete } from '../../linux/nftables/element.ts';
import { lacksFamily } from '../../linux/nftables/family.ts';
import { applyRuleset } from '../../linux/nftables/ruleset.ts';
import { tryCommit } from '../../linux/nftables/transaction.ts';
import { overlapping } from '../../linux/nftables/values/overlap.ts';
import { deleteText, replaceText, tableText } from '../../linux/nftables/values/render.ts';
import {
  type Holder,
  holdersOf,
  isOptional,
  OPTIONAL_FAMILIES,
  tableName,
} from '../../linux/nftables/values/table.ts';
import type { NftElementItem } from '../kinds/nft-element.ts';
import type { NftTableItem } from '../kinds/nft-table.ts';
import { asError } from './executor.ts';

/** Failed items, with their errors. */
export type Failures = Map<NftTableItem | NftElementItem, Error>;

/** A table to replace with all its elements, or, without `elements`, to delete. */
export type TableRewrite = { readonly table: NftTableItem; readonly elements?: readonly NftElementItem[] };

/** A change of one element; `change`: the same key with different data. */
export type ElementChange = {
  readonly action: 'add' | 'change' | 'delete';
  readonly item: NftElementItem;
  readonly set: Holder;
};

/**
 * Replaces and deletes tables in one transaction; if that is refused, each in its own. Elements that overlap
 * another one of their set are omitted and reported. Returns the number of transactions.
 */
export async function rewriteTables(
  netns: string | number | undefined,
  rewrites: readonly TableRewrite[],
  failures: Failures,
): Promise<number> {
  for (const each of rewrites) reportOverlaps(each, failures);
  try {
    await applyRuleset(rewrites.map((each) => rewriteText(each, failures)).join(''), { netns });
    return 1;
  } catch (error) {
    const [only, ...others] = rewrites;
    if (only && others.length === 0) {
      if (await findFaults(only, failures)) return rewriteTables(netns, [only], failures);
      const reason = await explained(only.table, error);
      for (const each of [only.table, ...(only.elements ?? [])]) failures.set(each, reason);
      return 0;
    }
  }
  let transactions = 0;
  for (const each of rewrites) transactions += await rewriteTables(netns, [each], failures);
  return transactions;
}

/** Explains a refusal that is due to the kernel's lack of the whole family. */
async function explained({ family }: NftTableItem, error: unknown): Promise<Error> {
  if (!isOptional(family) || !(await lacksFamily(family))) return asError(error);
  return new FlatnetError(`this kernel has no nftables for ${OPTIONAL_FAMILIES[family]}`, {
    code: 'KERNEL_FEATURE',
    operation: 'nft -f',
    fix: `use a kernel built with CONFIG_NF_TABLES_${family.toUpperCase()}`,
    cause: error,
  });
}

function rewriteText({ table, elements }: TableRewrite, failures: Failures): string {
  if (!elements) return deleteText(table);
  const sound = elements.filter((each) => !failures.has(each));
  return replaceText(table, sound);
}

/**
 * Tries out the elements in an empty namespace, so that one refused element does not cost the others their
 * table. Returns whether any was refused.
 */
async function findFaults({ table, elements = [] }: TableRewrite, failures: Failures): Promise<boolean> {
  const before = failures.size;
  const holders = new Map(holdersOf(table).map((holder) => [holder.name, holder]));
  const changes: ElementChange[] = [];
  for (const item of elements) {
    const set = holders.get(item.set);
    if (failures.has(item)) continue;
    if (set) changes.push({ action: 'add', item, set });
    else failures.set(item, noSetError(item));
  }
  const netns = anonymousNetns();
  try {
    await applyRuleset(tableText(table), { netns });
    using socket = NetlinkSocket.open(NETLINK_NETFILTER, { netns });
    await changeElements(socket, changes, failures);
  } catch {
    // The structure itself is at fault, and its refusal is already known.
  } finally {
    closeSync(netns);
  }
  return failures.size > before;
}

export function noSetError({ set }: NftElementItem): FlatnetError {
  return new FlatnetError(`no such set: ${set}`, { code: 'NFTABLES' });
}

export function overlapError({ set, key }: NftElementItem): FlatnetError {
  return new FlatnetError(`overlaps ${key} in set ${set}`, { code: 'NFTABLES' });
}

function reportOverlaps({ table, elements = [] }: TableRewrite, failures: Failures): void {
  for (const set of table.sets ?? []) {
    const members = set.interval ? elements.filter((each) => each.set === set.name) : [];
    for (const [loser, winner] of overlapping(set, members)) {
      failures.set(loser, overlapError(winner));
    }
  }
}

/**
 * Changes elements in one transaction, however many they are: a packet meets all of them or none. What the
 * kernel refuses is found, reported, and left out of another one. Only where it refuses a transaction as a
 * whole does it take several, with deletions first.
 */
export async function changeElements(
  socket: NetlinkSocket,
  changes: readonly ElementChange[],
  failures: Failures,
): Promise<void> {
  const deletions = changes.filter(({ action }) => action === 'delete');
  let left = [...deletions, ...changes.filter(({ action }) => action !== 'delete')];
  const suspects = new Set<ElementChange>();
  while (left.length > 0) {
    const messages = messagesOf(left, suspects);
    let refusals: ReadonlyMap<number, Error>;
    try {
      refusals = await tryCommit(
        socket,
        messages.map(({ request }) => request),
      );
    } catch (error) {
      return changeInHalves(socket, left, failures, error);
    }
    if (refusals.size === 0) return;
    const faulty = new Set<ElementChange>();
    for (const [i, error] of refusals) {
      const [only, ...others] = messages[i]?.changes ?? [];
      if (!only || others.length > 0) {
        for (const each of messages[i]?.changes ?? []) suspects.add(each);
        continue;
      }
      faulty.add(only);
      if (!isGone(only, error)) failures.set(only.item, error);
    }
    left = left.filter((each) => !faulty.has(each));
  }
}

async function changeInHalves(
  socket: NetlinkSocket,
  changes: readonly ElementChange[],
  failures: Failures,
  error: unknown,
): Promise<void> {
  const [only, ...others] = changes;
  if (only && others.length === 0) {
    if (!isGone(only, error)) failures.set(only.item, asError(error));
    return;
  }
  const half = changes.length >> 1;
  await changeElements(socket, changes.slice(0, half), failures);
  await changeElements(socket, changes.slice(half), failures);
}

type Message = { readonly request: Request; readonly changes: readonly ElementChange[] };

/** Many changes to a message; suspects have their own, as the kernel names no element, only the message. */
function messagesOf(changes: readonly ElementChange[], suspects: ReadonlySet<ElementChange>): Message[] {
  const sets = Map.groupBy(changes, ({ item, set }) => `${tableName(item)} ${set.name}`);
  return [...sets.values()].flatMap((all) => [
    // The kernel can't change data in place.
    ...inParts(
      all.filter(({ action }) => action !== 'add'),
      suspects,
      elementDelete,
    ),
    ...inParts(
      all.filter(({ action }) => action !== 'delete'),
      suspects,
      elementCreate,
    ),
  ]);
}

function inParts(
  changes: readonly ElementChange[],
  suspects: ReadonlySet<ElementChange>,
  verb: typeof elementCreate,
): Message[] {
  const parts: ElementChange[][] = changes.filter((each) => suspects.has(each)).map((each) => [each]);
  const others = changes.filter((each) => !suspects.has(each));
  for (let i = 0; i < others.length; i += ELEMENTS_PER_MESSAGE)
    parts.push(others.slice(i, i + ELEMENTS_PER_MESSAGE));
  return parts.flatMap((part) => {
    const [first] = part;
    const items = part.map(({ item }) => item);
    return first ? verb(first.item, first.set, items).map((request) => ({ request, changes: part })) : [];
  });
}

function isGone({ action }: ElementChange, error: unknown): boolean {
  return action === 'delete' && error instanceof FlatnetError && error.errno === 'ENOENT';
}
