import { type Family, familyOf } from '../ip/address.ts';
import type { Item, KernelState, LinkItem, MadeLink, RouteItem } from './item.ts';
import { keyOf, metricOf, same, tableOf } from './key.ts';
import { isOurs } from './ownership.ts';

/** One step from what the kernel holds to what it should hold. `was`: what is in the slot now. */
export type Change = {
  /** `recreate`: delete and make anew, as the kernel cannot change the item in place. */
  readonly action: 'add' | 'change' | 'recreate' | 'delete';
  readonly item: Item;
  readonly was?: Item;
};

export type DiffOptions = {
  /** Whether items of ours that nobody wants are deleted. Off until the first complete view of the cluster. */
  readonly prune?: boolean;
};

/** What has to be done, in no particular order: `order` puts it right. Pure. */
export function diff(actual: KernelState, desired: KernelState, options: DiffOptions = {}): Change[] {
  const changes: Change[] = [];
  const remade = new Set<string>();
  const readdressed = new Set<string>();
  for (const item of desired.values()) {
    if (item.kind !== 'link') continue;
    const change = changeOf(actual.get(keyOf(item)), item);
    if (!change) continue;
    changes.push(change);
    if (change.action === 'recreate') remade.add(item.name);
    if (change.was?.kind === 'link' && item.mac !== undefined && change.was.mac !== item.mac) {
      readdressed.add(item.name);
    }
  }
  /** With its device goes all that hangs on it; with the device's MAC its neighbours, permanent or not (neigh_changeaddr). */
  const lost = (item: Item): boolean => {
    const dev = deviceOf(item) ?? '';
    return remade.has(dev) || (item.kind === 'neighbour' && readdressed.has(dev));
  };
  for (const [key, item] of desired) {
    if (item.kind === 'link') continue;
    const change = changeOf(lost(item) ? undefined : actual.get(key), item);
    if (change) changes.push(change);
  }
  if (options.prune ?? true) {
    for (const [key, item] of actual) {
      if (!desired.has(key) && !lost(item) && isOurs(item, desired)) {
        changes.push({ action: 'delete', item });
      }
    }
  }
  return changes;
}

/** The change that fills one slot, or undefined when it is right. */
export function changeOf(was: Item | undefined, item: Item): Change | undefined {
  if (!was) return { action: 'add', item };
  if (satisfies(was, item)) return undefined;
  const recreate = item.kind === 'link' && was.kind === 'link' && mustRecreate(was, item);
  return { action: recreate ? 'recreate' : 'change', item, was };
}

/** Whether what the kernel holds is what is wanted. Properties that are not asked for may have any value. */
export function satisfies(actual: Item, wanted: Item): boolean {
  if (actual === wanted) return true;
  if (actual.kind === 'link' && wanted.kind === 'link') return linkSatisfies(actual, wanted);
  if (actual.kind === 'route' && wanted.kind === 'route') return routeSatisfies(actual, wanted);
  if (actual.kind === 'sysctl' && wanted.kind === 'sysctl') {
    return actual.value === wanted.value || (wanted.when !== undefined && actual.value !== wanted.when);
  }
  return same(actual, wanted);
}

function linkSatisfies(actual: LinkItem, wanted: LinkItem): boolean {
  const asked = ['mtu', 'mac', 'alias', 'master', 'hairpin'] as const;
  return (
    actual.up === wanted.up &&
    asked.every((name) => wanted[name] === undefined || wanted[name] === actual[name]) &&
    (wanted.link.type === 'existing' || differences(actual.link, wanted.link).length === 0)
  );
}

/** Which properties of a kind of link differ. */
function differences(actual: LinkItem['link'], wanted: LinkItem['link']): string[] {
  const present = new Map<string, unknown>(Object.entries(actual));
  const asked = new Map<string, unknown>(Object.entries(wanted));
  return [...new Set([...present.keys(), ...asked.keys()])].filter(
    (name) => present.get(name) !== asked.get(name),
  );
}

/** Whether it is the tunnel device without ends, which the kernel's module brings along: `tunl0`. */
export function isFallback(link: LinkItem['link']): boolean {
  return link.type === 'ipip' && link.local === undefined && link.remote === undefined;
}

/**
 * What the kernel changes of a live device of each kind, by `linkChanges` in `requests.ts`; anything else takes a new one.
 * vxlan: vxlan_nl2conf refuses the rest (EOPNOTSUPP).
 */
const CHANGEABLE: Readonly<Record<MadeLink['type'], readonly string[]>> = {
  bridge: [],
  vxlan: ['local', 'dev', 'learning'],
  ipip: [],
};

function mustRecreate(was: LinkItem, { link }: LinkItem): boolean {
  if (link.type === 'existing') return false;
  const changeable = CHANGEABLE[link.type];
  return differences(was.link, link).some((name) => !changeable.includes(name));
}

function routeSatisfies(actual: RouteItem, wanted: RouteItem): boolean {
  return (
    actual.type === wanted.type &&
    actual.protocol === wanted.protocol &&
    tableOf(actual) === tableOf(wanted) &&
    metricOf(actual) === metricOf(wanted) &&
    // The kernel shows IPv6 blackholes on lo, and picks the device itself where none was asked for.
    (wanted.type === 'blackhole' || wanted.dev === undefined || actual.dev === wanted.dev) &&
    actual.via === wanted.via &&
    actual.src === wanted.src &&
    (actual.onlink ?? false) === (wanted.onlink ?? false)
  );
}

/** The device an item hangs on and goes with. */
export function deviceOf(item: Item): string | undefined {
  switch (item.kind) {
    case 'address':
    case 'neighbour':
    case 'fdb':
    case 'route':
      return item.dev;
    case 'sysctl':
      return /^net\/ipv[46]\/(?:conf|neigh)\/(?!all\/|default\/)([^/]+)\//.exec(item.path)?.[1];
    default:
      return undefined;
  }
}

/** The families of the packets that a tunnel takes to other nodes; none for what is no tunnel. */
export function carriedFamilies(link: LinkItem['link']): readonly Family[] {
  switch (link.type) {
    case 'vxlan':
      return [familyOf(link.local)];
    case 'ipip':
      return [4];
    case 'bridge':
    case 'existing':
      return [];
  }
}

/** The underlay device a tunnel sits on. */
export function lowerOf({ link }: LinkItem): string | undefined {
  return 'dev' in link ? link.dev : undefined;
}
