import { FlatnetError } from '../../error.ts';
import type { Family } from '../../ip/address.ts';
import type { Mac } from '../../ip/mac.ts';
import type { BridgePort } from '../../linux/link/bridge.ts';
import { type Link, type LinkChanges, linkAdd, linkDelete, linkSet } from '../../linux/link/link.ts';
import type { Request } from '../../linux/netlink/message.ts';
import { type AnyItem, type Change, equal, type Items, isOf, words } from '../kind.ts';
import { portCommand, withoutPortState, wrongPortSettings } from '../link-types/bridge-port.ts';
import { type CreatedLink, findLinkType, linkTypeOf } from '../link-types/registry.ts';
import { OUR_ALIAS } from '../ownership.ts';
import type {
  EventView,
  Index,
  NameOf,
  RtnetlinkEvent,
  RtnetlinkKind,
  View,
} from '../protocols/rtnetlink.ts';

/** A device and its settings. Properties that are `undefined` keep the kernel's values. */
export type LinkItem = {
  readonly kind: 'link';
  readonly name: string;
  readonly link: CreatedLink | ExistingLink;
  readonly up: boolean;
  /** Bytes. */
  readonly mtu?: number;
  readonly mac?: Mac;
  /**
   * Marks a link as created by us: begins with `flatnet`. Such a link is removed when it is no longer
   * desired.
   */
  readonly alias?: string;
  /** The bridge it is a port of. */
  readonly master?: string;
  /** Bridge ports only. */
  readonly port?: BridgePort;
  /** As read: the name that someone has given it instead. */
  readonly renamed?: string;
  /**
   * Owner of its neighbour and FDB entries. `ours`: undesired entries are removed (tunnel devices). `kernel`:
   * they are left alone (a bridge, where the kernel learns).
   */
  readonly entries: 'ours' | 'kernel';
};

/** A link whose settings we maintain, but that we never create or delete (a pod's veth, the underlay). */
export type ExistingLink = { readonly type: 'existing' };

export const link: RtnetlinkKind<LinkItem> = {
  kind: 'link',
  executor: 'rtnetlink',
  key: ({ name }) => `link ${name}`,
  provides: ({ name }) => name,
  dependsOn: (item) => [lowerOf(item), item.master].filter((name) => name !== undefined),

  stage: (item, isNew) => (isNew && isCreated(item) ? 'devices' : 'device states'),
  steps: upInLaterStage,
  affectsOthers: isCreated,
  blockedBy: ({ action, item, was }, devices) => {
    if (action === 'delete') return undefined;
    const absent = (dev: string | undefined): string | undefined =>
      dev === undefined || devices.has(dev) ? undefined : `device ${dev} is absent`;
    if (item.link.type === 'existing') return absent(was?.renamed ?? item.name) ?? absent(item.master);
    const present = devices.get(item.name);
    if (present && present.link.type !== item.link.type && !present.alias?.startsWith(OUR_ALIAS)) {
      return `a device of another kind has the name ${item.name}: rename or delete it`;
    }
    return absent(lowerOf(item));
  },

  isOurs: (item) => isCreated(item) && (item.alias?.startsWith(OUR_ALIAS) ?? false),
  same: equal,
  satisfies: (actual, wanted) => {
    const compared = ['mtu', 'mac', 'alias', 'master'] as const;
    return (
      actual.up === wanted.up &&
      actual.renamed === undefined &&
      wrongPortSettings(actual.port, wanted.port) === undefined &&
      compared.every((name) => wanted[name] === undefined || wanted[name] === actual[name]) &&
      (wanted.link.type === 'existing' || equal(actual.link, wanted.link))
    );
  },
  mustRecreate: (was, { link }) => {
    if (link.type === 'existing') return false;
    const { changeable } = linkTypeOf(link);
    return differences(was.link, link).some((name) => !changeable.includes(name));
  },

  // Devices are read before everything else: other items refer to them by name.
  dumps: () => [],
  requests,
  // Loading the module has created the device.
  isBenign: ({ action, item }, { errno }) => action !== 'delete' && isBuiltIn(item) && errno === 'EEXIST',
  explain,
  contradiction,

  command,
  changeCommand,
  forward: ({ name, up, mac, link }, { ports }) =>
    void ports.set(name, { name, up, link, ...(mac !== undefined && { mac }) }),
};

/** A device among items. */
export function linkIn(items: Items, name: string): LinkItem | undefined {
  const item = items.get(`link ${name}`);
  return isOf(link, item) ? item : undefined;
}

/**
 * Devices that are desired, but that someone has renamed, under their desired names. They are recognised by
 * the MAC and alias that they should have, if only one has them.
 */
export function renamedLinks(desired: Items, devices: ReadonlyMap<string, LinkItem>): LinkItem[] {
  const lost = [...desired.values()].filter(
    (item) => isOf(link, item) && !isCreated(item) && !devices.has(item.name),
  );
  return lost.flatMap((wanted) => {
    if (!isOf(link, wanted) || (wanted.mac ?? wanted.alias) === undefined) return [];
    const matches = [...devices.values()].filter(
      (device) =>
        !linkIn(desired, device.name) &&
        device.link.type === 'existing' &&
        [undefined, device.mac].includes(wanted.mac) &&
        [undefined, device.alias].includes(wanted.alias),
    );
    const [match] = matches;
    return match && matches.length === 1 ? [{ ...match, name: wanted.name, renamed: match.name }] : [];
  });
}

/** Whether we create the device, rather than only maintain its settings. */
export function isCreated(item: LinkItem | undefined): boolean {
  return item !== undefined && item.link.type !== 'existing';
}

/** Whether user space resolves the device's unknown neighbours and FDB entries. */
export function isOnDemand({ link }: LinkItem): boolean {
  return link.type !== 'existing' && (linkTypeOf(link).isOnDemand?.(link) ?? false);
}

/** The families of packets that a tunnel carries to other nodes; none for a device that is not a tunnel. */
export function carriedFamilies({ link }: LinkItem): readonly Family[] {
  return link.type === 'existing' ? [] : linkTypeOf(link).carries(link);
}

/** Whether a change gives a device another MAC. */
export function isReaddressed({ item, was }: Change<AnyItem>): boolean {
  return isOf(link, item) && isOf(link, was) && item.mac !== undefined && item.mac !== was.mac;
}

/** The indexes of the devices whose neighbours and FDB entries are ours. */
export function ownDevices({ desired, devices }: View): number[] {
  return [...devices]
    .filter(([name]) => linkIn(desired, name)?.entries === 'ours')
    .map(([, { index }]) => index);
}

/** Converts a device to an item: `existing` if it is of a type we never create. */
export function linkItem(value: Link, nameOf: NameOf): LinkItem {
  const { name, data, up, mtu, mac, alias, port } = value;
  const master = value.master === undefined ? undefined : nameOf(value.master);
  return {
    kind: 'link',
    name,
    link: (data && findLinkType(data.kind)?.read(data, nameOf)) ?? { type: 'existing' },
    up,
    mtu,
    ...(mac !== undefined && { mac }),
    ...(alias !== undefined && { alias }),
    ...(master !== undefined && { master }),
    ...(port !== undefined && { port }),
    entries: 'kernel',
  };
}

function lowerOf({ link }: LinkItem): string | undefined {
  return link.type === 'existing' ? undefined : linkTypeOf(link).lower?.(link);
}

function isBuiltIn({ link }: LinkItem): boolean {
  return link.type !== 'existing' && (linkTypeOf(link).isBuiltIn?.(link) ?? false);
}

/** Creates a link down, and sets it up in a later stage, after its own sysctls. */
function upInLaterStage(change: Change<LinkItem>): readonly Change<LinkItem>[] {
  const { action, item } = change;
  if (!isCreated(item) || !item.up || (action !== 'add' && action !== 'recreate')) return [change];
  const down = { ...item, up: false };
  return [
    { ...change, item: down },
    { action: 'change', item, was: down },
  ];
}

/** Returns the names of the type-specific properties that differ. */
function differences(actual: LinkItem['link'], wanted: LinkItem['link']): string[] {
  const present = new Map<string, unknown>(Object.entries(actual));
  const desired = new Map<string, unknown>(Object.entries(wanted));
  return [...new Set([...present.keys(), ...desired.keys()])].filter(
    (name) => present.get(name) !== desired.get(name),
  );
}

function contradiction(
  event: RtnetlinkEvent,
  { desired, involves, devices, nameOf }: EventView,
): string | undefined {
  const gone = event.type === 'del';
  if (event.object === 'link') {
    const { name, index } = event.value;
    const item = linkItem(event.value, nameOf);
    const before = devices.get(name);
    if (!gone && before?.index === index && equal(before, { ...item, index })) return undefined;
    const former = nameOf(index);
    if (!gone && former !== undefined && former !== name && involves(former)) return `link ${former}`;
    return involves(name) || link.isOurs(item, desired) ? `link ${name}` : undefined;
  }
  if (event.object !== 'port') return undefined;
  const name = nameOf(event.value.dev);
  const wanted = name === undefined ? undefined : linkIn(desired, name);
  if (wanted?.master === undefined) return undefined;
  return !gone && wrongPortSettings(event.value.port, wanted.port) === undefined
    ? undefined
    : `bridge port ${name}`;
}

function requests({ action, item, was }: Change<LinkItem>, index: Index): readonly Request[] {
  const { name, link, mtu, mac, alias } = item;
  if (action === 'delete') return deletion(item, index(name));
  if (link.type === 'existing' || action === 'change') {
    const { data, ...changes } = linkChanges(item, was, index);
    const number = index(was?.renamed ?? name);
    // Before Linux 6.3, only a device that is down can be renamed.
    if (was?.renamed !== undefined)
      return [
        ...linkSet(number, { up: false }),
        ...linkSet(number, { name }),
        ...linkSet(number, { ...changes, up: item.up }),
      ];
    // vxlan_nl2conf refuses an MTU in the message that changes the tunnel ("Cannot change mtu").
    return [...(data ? linkSet(number, { data }) : []), ...linkSet(number, changes)];
  }
  const data = linkTypeOf(link).data(link, index);
  const master = item.master === undefined ? undefined : index(item.master);
  // It comes up in a later stage, after its sysctls.
  const add = linkAdd({ name, data, mtu, mac, alias, master, port: item.port });
  return action === 'recreate' ? [linkDelete(index(name)), ...add] : add;
}

/** A device created by the kernel's module can't be deleted: we disown it and set it down. */
function deletion(item: LinkItem, index: number): Request[] {
  return [linkDelete(index), ...(isBuiltIn(item) ? linkSet(index, { up: false, alias: '' }) : [])];
}

/** Returns only the differences: a live device may refuse any attribute, even with its current value. */
function linkChanges(item: LinkItem, was: LinkItem | undefined, index: Index): LinkChanges {
  const { mtu, mac, alias, master, port, link, up } = item;
  const changed = <T>(wanted: T | undefined, present: T | undefined): T | undefined =>
    wanted === present ? undefined : wanted;
  const newMaster = changed(master, was?.master);
  // A new port has the kernel's defaults.
  const newPort = newMaster === undefined ? wrongPortSettings(was?.port, port) : withoutPortState(port);
  const isOther = link.type !== 'existing' && link.type === was?.link.type && !equal(link, was.link);
  return {
    up: changed(up, was?.up),
    mtu: changed(mtu, was?.mtu),
    mac: changed(mac, was?.mac),
    alias: changed(alias, was?.alias),
    master: newMaster === undefined ? undefined : index(newMaster),
    port: newPort,
    data: isOther ? linkTypeOf(link).change?.(link, index, was.link) : undefined,
  };
}

/** Explains EOPNOTSUPP, which is all the kernel says if the type's module is missing. */
function explain({ action, item }: Change<LinkItem>, error: FlatnetError): FlatnetError {
  if (action === 'change' || error.errno !== 'EOPNOTSUPP') return error;
  const { type } = item.link;
  return new FlatnetError(`this kernel does not support ${type} devices`, {
    code: 'KERNEL_FEATURE',
    operation: 'link add',
    object: item.name,
    errno: error.errno,
    fix: `load the module ${type}; minimal kernels ship it in a package of extra modules`,
    cause: error,
  });
}

function command(item: LinkItem, action: 'add' | 'delete'): string {
  const { name, link, mtu, mac, master, up, port } = item;
  if (action === 'delete') {
    return isBuiltIn(item) ? `ip link set ${name} alias '' down` : `ip link del ${name}`;
  }
  const settings = words(
    mtu === undefined ? '' : `mtu ${mtu}`,
    mac === undefined ? '' : `address ${mac}`,
    master === undefined ? '' : `master ${master}`,
  );
  const alias = item.alias === undefined ? '' : `alias '${item.alias}'`;
  const state = up ? 'up' : 'down';
  const commands: string[] = [];
  if (link.type === 'existing') commands.push(words('ip link set', name, settings, state));
  else if (isBuiltIn(item)) {
    commands.push(`modprobe ${link.type}`, words('ip link set', name, settings, alias, state));
  } else {
    commands.push(words('ip link add', name, settings, 'type', linkTypeOf(link).text(link)));
    if (alias) commands.push(`ip link set ${name} ${alias}`);
    if (up) commands.push(`ip link set ${name} up`);
  }
  if (port !== undefined) commands.push(portCommand(name, port));
  return commands.join(' && ');
}

/** Covers only the differences. */
function changeCommand(item: LinkItem, was: LinkItem): string {
  const changed = <T>(wanted: T | undefined, present: T, text: string): string =>
    wanted === undefined || wanted === present ? '' : text;
  const settings = words(
    changed(item.mtu, was.mtu, `mtu ${item.mtu}`),
    changed(item.mac, was.mac, `address ${item.mac}`),
    changed(item.alias, was.alias, `alias '${item.alias}'`),
    changed(item.master, was.master, `master ${item.master}`),
    changed(item.up, was.up && was.renamed === undefined, item.up ? 'up' : 'down'),
  );
  const { link } = item;
  const isOther = link.type !== 'existing' && !equal(link, was.link);
  const wrong = wrongPortSettings(was.port, item.port);
  const { renamed } = was;
  return [
    renamed === undefined ? '' : `ip link set ${renamed} down && ip link set ${renamed} name ${item.name}`,
    settings && `ip link set ${item.name} ${settings}`,
    isOther ? `ip link set ${item.name} type ${linkTypeOf(link).text(link)}` : '',
    wrong === undefined ? '' : portCommand(item.name, wrong),
  ]
    .filter((part) => part !== '')
    .join(' && ');
}
