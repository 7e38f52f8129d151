import { type Change, deviceOf, lowerOf } from './diff.ts';
import type { Item, LinkItem } from './item.ts';
import { OUR_ALIAS } from './ownership.ts';

/** What `blockedBy` has to know of the links that exist, by name. */
export type LinkFacts = {
  readonly up: boolean;
  readonly type: LinkItem['link']['type'];
  readonly alias?: string;
};

/**
 * The safe order (make before break), as phases: what is in one phase may be done at once, phases one after the other.
 * Something new is in place before a route leads there, and a route is gone before what it leads to goes.
 */
export function order(changes: readonly Change[]): Change[][] {
  const made = new Set<string>();
  for (const { action, item } of changes)
    if (item.kind === 'link' && makesLink(action, item)) made.add(item.name);
  const phases = new Map<number, Change[]>();
  for (const change of changes.flatMap(raisedLater)) {
    const phase = phaseOf(change, made);
    const list = phases.get(phase);
    if (list) list.push(change);
    else phases.set(phase, [change]);
  }
  return [...phases].sort(([a], [b]) => a - b).map(([, list]) => list);
}

/** A link is made down and set up in a later phase, when its own sysctls hold. */
function raisedLater(change: Change): Change[] {
  const { action, item } = change;
  if (item.kind !== 'link' || !makesLink(action, item) || !item.up) return [change];
  const down = { ...item, up: false };
  return [
    { ...change, item: down },
    { action: 'change', item, was: down },
  ];
}

function makesLink(action: Change['action'], item: Item): boolean {
  return item.kind === 'link' && item.link.type !== 'existing' && (action === 'add' || action === 'recreate');
}

function phaseOf({ action, item }: Change, made: ReadonlySet<string>): number {
  const gone = action === 'delete';
  switch (item.kind) {
    case 'sysctl': {
      // A device's own settings wait for the device and come before it goes up: accept_ra, accept_dad.
      const dev = deviceOf(item);
      return dev !== undefined && made.has(dev) ? 2 : 0;
    }
    case 'link':
      if (gone) return 19;
      return makesLink(action, item) ? 1 : 3;
    case 'address':
      return gone ? 18 : 4;
    case 'nft':
      return gone ? 17 : 5;
    // A neighbour names a MAC that the FDB must know already.
    case 'fdb':
      return gone ? 16 : 6;
    case 'neighbour':
      return gone ? 15 : 7;
    case 'route':
      return gone ? 14 : 8;
    case 'rule':
      return gone ? 13 : 9;
  }
}

/** Why a change cannot be made now, or undefined. What is blocked waits; the arrival of the device sets it going. */
export function blockedBy(
  { action, item }: Change,
  links: ReadonlyMap<string, LinkFacts>,
): string | undefined {
  const absent = (dev: string | undefined): string | undefined =>
    dev === undefined || links.has(dev) ? undefined : `device ${dev} is absent`;
  if (item.kind === 'link') {
    const present = links.get(item.name);
    if (action === 'delete') return undefined;
    if (item.link.type === 'existing') return absent(item.name) ?? absent(item.master);
    if (present && present.type !== item.link.type && !present.alias?.startsWith(OUR_ALIAS)) {
      return `a device of another kind has the name ${item.name}: rename or delete it`;
    }
    return absent(lowerOf(item));
  }
  const dev = deviceOf(item);
  const reason = absent(dev);
  if (reason !== undefined) return reason;
  if (action !== 'delete' && item.kind === 'route' && dev !== undefined && !links.get(dev)?.up) {
    return `device ${dev} is down`;
  }
  return undefined;
}
