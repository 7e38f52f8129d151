import { closeSync } from 'node:fs';
import { FlatnetError } from '../../error.ts';
import type { Request } from '../../linux/netlink/message.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../../linux/netlink/socket.ts';
import { anonymousNetns } from '../../linux/netns.ts';
import { elementCreate, elementDelete } from '../../linux/nftables/element.ts';
import { applyRuleset } from '../../linux/nftables/ruleset.ts';
import { commit } from '../../linux/nftables/transaction.ts';
import { overlapping } from '../../linux/nftables/values/overlap.ts';
import { deleteText, replaceText, tableText } from '../../linux/nftables/values/render.ts';
import { type Holder, holdersOf, tableName } from '../../linux/nftables/values/table.ts';
import type { NftElementItem } from '../kinds/nft-element.ts';
import type { NftTableItem } from '../kinds/nft-table.ts';
import { asError } from './executor.ts';

/** What failed, and why. */
export type Failures = Map<NftTableItem | NftElementItem, Error>;

/** A table to replace, with all its elements; without `elements`, to delete. */
export type Remake = { readonly table: NftTableItem; readonly elements?: readonly NftElementItem[] };

/** A change of one element; `change`: the key stays and its data differs. */
export type ElementChange = {
  readonly action: 'add' | 'change' | 'delete';
  readonly item: NftElementItem;
  readonly set: Holder;
};

/** A transaction must fit the socket's send buffer. */
const CHANGES_AT_ONCE = 20_000;

/**
 * Replaces and deletes tables in one transaction; if that is refused, each in its own. Elements that overlap
 * another one of their set are left out and reported. Returns the number of transactions.
 */
export async function remake(
  netns: string | number | undefined,
  remakes: readonly Remake[],
  failures: Failures,
): Promise<number> {
  for (const each of remakes) tellOverlaps(each, failures);
  try {
    await applyRuleset(remakes.map((each) => remakeText(each, failures)).join(''), { netns });
    return 1;
  } catch (error) {
    const [only, ...others] = remakes;
    if (only && others.length === 0) {
      if (await findFaults(only, failures)) return remake(netns, [only], failures);
      for (const each of [only.table, ...(only.elements ?? [])]) failures.set(each, asError(error));
      return 0;
    }
  }
  let transactions = 0;
  for (const each of remakes) transactions += await remake(netns, [each], failures);
  return transactions;
}

function remakeText({ table, elements }: Remake, failures: Failures): string {
  if (!elements) return deleteText(table);
  const sound = elements.filter((each) => !failures.has(each));
  return replaceText(table, sound);
}

/**
 * Tries the elements in an empty namespace: one that the kernel refuses must not cost the others their table.
 * Returns whether there is such a one.
 */
async function findFaults({ table, elements = [] }: Remake, failures: Failures): Promise<boolean> {
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
    // It is the structure that is at fault, and its refusal is known already.
  } finally {
    closeSync(netns);
  }
  return failures.size > before;
}

export function noSetError({ set }: NftElementItem): FlatnetError {
  return new FlatnetError(`there is no set ${set}`, { code: 'NFTABLES' });
}

export function overlapError({ set, key }: NftElementItem): FlatnetError {
  return new FlatnetError(`overlaps ${key}, which set ${set} holds`, { code: 'NFTABLES' });
}

function tellOverlaps({ table, elements = [] }: Remake, failures: Failures): void {
  for (const set of table.sets ?? []) {
    const members = set.interval ? elements.filter((each) => each.set === set.name) : [];
    for (const [loser, winner] of overlapping(set, members)) {
      failures.set(loser, overlapError(winner));
    }
  }
}

/**
 * Changes elements in one transaction, deletions first; if that is refused, all but the ones at fault.
 */
export async function changeElements(
  socket: NetlinkSocket,
  changes: readonly ElementChange[],
  failures: Failures,
): Promise<void> {
  const gone = changes.filter(({ action }) => action === 'delete');
  const ordered = [...gone, ...changes.filter(({ action }) => action !== 'delete')];
  for (let i = 0; i < ordered.length; i += CHANGES_AT_ONCE) {
    await attempt(socket, ordered.slice(i, i + CHANGES_AT_ONCE), failures);
  }
}

async function attempt(
  socket: NetlinkSocket,
  changes: readonly ElementChange[],
  failures: Failures,
): Promise<void> {
  try {
    await commit(socket, requests(changes));
  } catch (error) {
    const [only, ...others] = changes;
    if (only && others.length === 0) {
      if (!isGone(only, error)) failures.set(only.item, asError(error));
      return;
    }
    const half = changes.length >> 1;
    await attempt(socket, changes.slice(0, half), failures);
    await attempt(socket, changes.slice(half), failures);
  }
}

function requests(changes: readonly ElementChange[]): Request[] {
  type Group = { set: Holder; table: NftElementItem; gone: NftElementItem[]; come: NftElementItem[] };
  const groups = new Map<string, Group>();
  for (const { action, item, set } of changes) {
    const name = `${tableName(item)} ${set.name}`;
    const group = groups.get(name) ?? { set, table: item, gone: [], come: [] };
    groups.set(name, group);
    // The kernel cannot change data in place.
    if (action !== 'add') group.gone.push(item);
    if (action !== 'delete') group.come.push(item);
  }
  return [...groups.values()].flatMap(({ set, table, gone, come }) => [
    ...elementDelete(table, set, gone),
    ...elementCreate(table, set, come),
  ]);
}

function isGone({ action }: ElementChange, error: unknown): boolean {
  return action === 'delete' && error instanceof FlatnetError && error.errno === 'ENOENT';
}
