import { type Family, type Ip, parseIp } from '../ip/address.ts';
import { fieldsOf } from '../linux/nftables/values/element.ts';
import type { Change, Item } from '../state/item.ts';
import { addressMap, portMap, tableOf } from './tables.ts';

export type Target = { readonly ip: Ip; readonly port: number };

/** A UDP port of the node that leads elsewhere than before. */
export type Redirected = {
  readonly family: Family;
  readonly port: number;
  /** Absent: at all of the node's addresses. */
  readonly hostIp?: Ip;
  readonly was?: Target;
  readonly now?: Target;
};

/**
 * Returns the UDP ports that changes have redirected. Packets of a tracked flow keep going where its first
 * one went, for UDP possibly forever (kubernetes#59368): such flows have to be forgotten.
 */
export function redirected(changes: readonly Change[]): Redirected[] {
  return changes.flatMap(({ action, item, was }) => {
    const [before, after] = [portOf(action === 'delete' ? item : was), portOf(item)];
    const any = after ?? before;
    if (!any) return [];
    const { target, ...port } = any;
    return [
      {
        ...port,
        ...(before && { was: before.target }),
        ...(action !== 'delete' && { now: target }),
      },
    ];
  });
}

type Port = Pick<Redirected, 'family' | 'port' | 'hostIp'> & { readonly target: Target };

function portOf(item: Item | undefined): Port | undefined {
  if (item?.kind !== 'nft-element' || item.table !== tableOf(4).table) return undefined;
  const family = item.family === 'ip' ? 4 : 6;
  const fields = fieldsOf(item.key);
  const [protocol, port] = fields.slice(-2);
  if (protocol !== 'udp' || ![portMap(family).name, addressMap(family).name].includes(item.set))
    return undefined;
  const [ip = '', to] = fieldsOf(item.data ?? '');
  const target = { ip: parseIp(ip), port: Number(to) };
  const [hostIp] = fields.length === 3 ? fields : [];
  return { family, port: Number(port), target, ...(hostIp !== undefined && { hostIp: parseIp(hostIp) }) };
}
