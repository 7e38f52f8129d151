import { isLinkLocal } from '../ip/address.ts';
import { addressOf } from '../ip/cidr.ts';
import type { MonitorEvent } from '../linux/event.ts';
import { deviceOf, lowerOf, satisfies } from './diff.ts';
import type { Item, KernelState, LinkItem } from './item.ts';
import { keyOf, same } from './key.ts';
import {
  addressItem,
  fdbItem,
  linkItem,
  type Names,
  neighbourItem,
  routeItem,
  ruleItem,
  sysctlItems,
} from './observe.ts';
import { isOurs, OUR_ALIAS } from './ownership.ts';

/** What is believed of the kernel when an event comes. */
export type Known = {
  readonly portId: number;
  readonly nameOf: Names;
  readonly links: ReadonlyMap<string, LinkItem & { readonly index: number }>;
};

/** What an event says against the desired state, as text; undefined for our own doings and what does not concern us. */
export function contradiction(event: MonitorEvent, desired: KernelState, known: Known): string | undefined {
  if (event.type === 'overflow') return 'notifications were lost';
  if (event.type === 'miss' || event.portId === known.portId) return undefined;
  const gone = event.type === 'del';
  const { nameOf } = known;
  switch (event.object) {
    case 'link': {
      const { name, index } = event.value;
      const before = known.links.get(name);
      if (!gone && before?.index === index && sameLink(before, linkItem(event.value, nameOf)))
        return undefined;
      const concerns = devices(desired).has(name) || (event.value.alias?.startsWith(OUR_ALIAS) ?? false);
      return concerns ? `link ${name}` : undefined;
    }
    case 'port': {
      const name = nameOf(event.value.dev);
      const wanted = desired.get(`link ${name}`);
      if (wanted?.kind !== 'link' || wanted.master === undefined) return undefined;
      const fits = !gone && (wanted.hairpin ?? event.value.port?.hairpin) === event.value.port?.hairpin;
      return fits ? undefined : `bridge port ${name}`;
    }
    case 'address': {
      const item = addressItem(event.value, nameOf);
      // The kernel gives and takes link-local addresses by itself; some are wanted.
      if (!item || (isLinkLocal(addressOf(item.address)) && !desired.has(keyOf(item)))) return undefined;
      const made = desired.get(`link ${item.dev}`);
      // An address that leaves the underlay takes routes with it silently (fib_sync_down_addr).
      if (!made) return devices(desired).has(item.dev) ? keyOf(item) : undefined;
      return against(item, gone, desired);
    }
    case 'route':
      return against(routeItem(event.value, nameOf), gone, desired);
    case 'rule': {
      const item = ruleItem(event.value);
      return item && against(item, gone, desired);
    }
    case 'netconf': {
      // Those of a device go with it.
      const items = gone ? [] : sysctlItems(event.value, nameOf);
      const wrong = items.find((item) => desired.has(keyOf(item)) && against(item, gone, desired));
      return wrong && keyOf(wrong);
    }
    case 'neighbour': {
      const item = neighbourItem(event.value, nameOf);
      return item
        ? against(item, gone, desired)
        : lost(`neighbour ${nameOf(event.value.dev)} ${event.value.ip}`, desired);
    }
    case 'fdb': {
      const item = fdbItem(event.value, nameOf);
      return item
        ? against(item, gone, desired)
        : lost(`fdb ${nameOf(event.value.dev)} ${event.value.mac}`, desired);
    }
  }
}

function against(item: Item, gone: boolean, desired: KernelState): string | undefined {
  const key = keyOf(item);
  const wanted = desired.get(key);
  const wrong = wanted ? gone || !satisfies(item, wanted) : !gone && isOurs(item, desired);
  return wrong ? key : undefined;
}

/** An entry that is no longer permanent, where a permanent one is wanted. */
function lost(key: string, desired: KernelState): string | undefined {
  return desired.has(key) ? key : undefined;
}

function sameLink({ index: _index, ...a }: LinkItem & { readonly index: number }, b: LinkItem): boolean {
  return same(a, b);
}

const devicesOf = new WeakMap<KernelState, ReadonlySet<string>>();

/** The names of all devices the desired state has to do with. */
function devices(desired: KernelState): ReadonlySet<string> {
  let names = devicesOf.get(desired);
  if (!names) {
    names = new Set([...desired.values()].flatMap(namesIn));
    devicesOf.set(desired, names);
  }
  return names;
}

function namesIn(item: Item): string[] {
  if (item.kind !== 'link') return [deviceOf(item)].filter((name) => name !== undefined);
  return [item.name, lowerOf(item), item.master].filter((name) => name !== undefined);
}
