import { type AnyItem, type Change, equal, type Items, isOf } from '../../kind.ts';
import { wrongPortSettings } from '../../link-types/bridge-port.ts';
import { linkTypeOf } from '../../link-types/registry.ts';
import { OUR_ALIAS } from '../../ownership.ts';
import type { EventView, RtnetlinkEvent, RtnetlinkKind, View } from '../../protocols/rtnetlink.ts';
import { changeCommand, command } from './command.ts';
import { isBuiltIn, isCreated, isMadeByProgram, type LinkItem, linkItem, lowerOf } from './item.ts';
import { explain, requests } from './requests.ts';

/** A device: item.ts says what it is, requests.ts and command.ts how the kernel and a person change it. */
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
    return absent(lowerOf(item)) ?? (isMadeByProgram(item) ? absent(item.name) : undefined);
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
      (wanted.link.type === 'existing' || differences(actual.link, wanted.link).length === 0)
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
  const kept = wanted.type === 'existing' ? [] : (linkTypeOf(wanted).kept ?? []);
  return [...new Set([...present.keys(), ...desired.keys()])].filter(
    (name) => present.get(name) !== desired.get(name) && (desired.has(name) || !kept.includes(name)),
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
