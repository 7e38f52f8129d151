import type { Change, Item } from '../../src/state/item.ts';
import { deviceOf, keyOf } from '../../src/state/item.ts';
import type { LinkItem } from '../../src/state/kinds/link/item.ts';
import { blockedBy } from '../../src/state/order.ts';

/**
 * A simulated kernel with the real one's constraints: it refuses impossible changes, and drops whatever
 * disappears with a link that is removed or set down.
 */
export class SimulatedKernel {
  readonly state = new Map<string, Item>();

  constructor(items: Iterable<Item> = []) {
    for (const item of items) this.state.set(keyOf(item), item);
  }

  devices(): Map<string, LinkItem> {
    const devices = new Map<string, LinkItem>();
    for (const item of this.state.values()) if (item.kind === 'link') devices.set(item.name, item);
    return devices;
  }

  /** Makes one change; returns an errno name if it is refused. */
  apply(change: Change): string | undefined {
    const { action, item } = change;
    if (blockedBy(change, this.devices())) return 'blocked';
    if (item.kind === 'link') return this.#applyLink(action, item);
    const dev = deviceOf(item);
    if (dev !== undefined && !this.#link(dev)) return 'ENODEV';
    const key = keyOf(item);
    if (action === 'delete') return this.state.delete(key) ? undefined : 'ENOENT';
    if (item.kind === 'route' && dev !== undefined && !this.#link(dev)?.up) return 'ENETDOWN';
    if (item.kind === 'fdb' && this.#link(item.dev)?.link.type !== 'vxlan') return 'EOPNOTSUPP';
    this.state.set(key, item);
    return undefined;
  }

  #applyLink(action: Change['action'], item: LinkItem): string | undefined {
    const present = this.#link(item.name);
    if (action === 'delete') return present ? this.removeLink(item.name) : 'ENODEV';
    if (action === 'recreate') {
      if (!present) return 'ENODEV';
      this.removeLink(item.name);
    } else if (action === 'add' && present) return 'EEXIST';
    else if (action === 'add' && item.link.type === 'existing') return 'ENODEV';
    else if (action === 'change' && !present) return 'ENODEV';
    if (item.master !== undefined && !this.#link(item.master)) return 'ENODEV';
    if (action === 'change' && present) {
      if (fixedOf(present) !== fixedOf(item) && item.link.type !== 'existing') return 'EOPNOTSUPP';
      if (present.up && !item.up) this.setDown(item.name);
      if (item.mac !== undefined && item.mac !== present.mac) this.#dropNeighbours(item.name);
      const link = item.link.type === 'existing' ? present.link : item.link;
      this.state.set(keyOf(item), { ...present, ...item, link });
    } else this.state.set(keyOf(item), item);
    return undefined;
  }

  /** Removes a link with everything that depends on it, and frees the ports of a bridge. */
  removeLink(name: string): undefined {
    this.state.delete(`link ${name}`);
    for (const [key, item] of this.state) {
      if (deviceOf(item) === name) this.state.delete(key);
      if (item.kind !== 'link') continue;
      if (item.link.type === 'vxlan' && item.link.dev === name) this.removeLink(item.name);
      if (item.master === name) {
        const { master: _master, port: _port, ...free } = item;
        this.state.set(key, free);
      }
    }
  }

  /** Drops the link's routes and its permanent neighbours; the FDB stays. */
  setDown(name: string): void {
    const link = this.#link(name);
    if (link) this.state.set(keyOf(link), { ...link, up: false });
    for (const [key, item] of this.state) {
      if ((item.kind === 'route' || item.kind === 'neighbour') && item.dev === name) this.state.delete(key);
    }
  }

  #dropNeighbours(dev: string): void {
    for (const [key, item] of this.state)
      if (item.kind === 'neighbour' && item.dev === dev) this.state.delete(key);
  }

  #link(name: string): LinkItem | undefined {
    const item = this.state.get(`link ${name}`);
    return item?.kind === 'link' ? item : undefined;
  }
}

function fixedOf({ link }: LinkItem): string {
  if (link.type !== 'vxlan') return link.type;
  const { vni, port, gbp, udpChecksum, onDemand } = link;
  return JSON.stringify([vni, port, gbp, udpChecksum, onDemand]);
}
