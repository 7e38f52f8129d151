import { FlatnetError } from '../../../error.ts';
import { type LinkChanges, linkAdd, linkDelete, linkSet } from '../../../linux/link/change.ts';
import { moduleOf } from '../../../linux/link/module.ts';
import type { Request } from '../../../linux/netlink/message.ts';
import { type Change, equal } from '../../kind.ts';
import { withoutPortState, wrongPortSettings } from '../../link-types/bridge-port.ts';
import { linkTypeOf } from '../../link-types/registry.ts';
import type { Index } from '../../protocols/rtnetlink.ts';
import { isBuiltIn, type LinkItem, lowerOf } from './item.ts';

/** Returns the requests for a change. */
export function requests({ action, item, was }: Change<LinkItem>, index: Index): readonly Request[] {
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

/**
 * Explains EOPNOTSUPP, which is all the kernel says if the type's module is missing, and EBUSY, if something
 * else receives all that the device below does (netdev_rx_handler_register).
 */
export function explain({ action, item }: Change<LinkItem>, error: FlatnetError): FlatnetError {
  if (action === 'change') return error;
  const dev = lowerOf(item);
  if (error.errno === 'EBUSY' && dev !== undefined) {
    return new FlatnetError(`${dev} is in use by a bridge, a bond, or devices of another kind on it`, {
      code: 'NETLINK',
      operation: 'link add',
      object: item.name,
      errno: error.errno,
      fix: `free ${dev}, or choose another interface`,
      cause: error,
    });
  }
  if (error.errno !== 'EOPNOTSUPP') return error;
  const kind = item.link.type === 'existing' ? item.link.type : linkTypeOf(item.link).sample.kind;
  return new FlatnetError(`this kernel does not support ${kind} devices`, {
    code: 'KERNEL_FEATURE',
    operation: 'link add',
    object: item.name,
    errno: error.errno,
    fix: `load the module ${moduleOf(kind)}; minimal kernels ship it in a package of extra modules`,
    cause: error,
  });
}
