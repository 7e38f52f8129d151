import { FlatnetError } from '../../error.ts';
import { FAMILIES, type Family, familyOf, type Ip, parseIp } from '../../ip/address.ts';
import type { NetlinkSocket } from '../../linux/netlink/socket.ts';
import { elementAdd } from '../../linux/nftables/element.ts';
import { readElements } from '../../linux/nftables/element-dump.ts';
import { commit } from '../../linux/nftables/transaction.ts';
import type { PassingElement } from '../../linux/nftables/values/element.ts';
import type { SetValue } from '../../linux/nftables/values/table.ts';
import type { Connection } from '../../policy/compile/verdicts.ts';
import { endedAs, endedElement, silencedElement } from '../../policy/flows/ended.ts';
import { type Ended, endedSet, endedTableOf, pairSet, silencedSet } from '../../policy/flows/table.ts';

/** Pods of this node of which too many connections have been ended to remember each. */
export type Crowded = {
  /** None of their streams goes on that the kernel does not know. */
  readonly silenced: readonly Ip[];
  /** Their ended connections may go on. */
  readonly forgotten: readonly Ip[];
};

/**
 * Keeps connections that are about to be ended from going on. Where there is no room to remember each, as one
 * pod may have had thousands, none of these pods' streams goes on that the kernel does not know, and nothing
 * else between the same ends by the same protocol. `isPoliced`: whether an address is of a pod of this node
 * that policies are about. Throws NFTABLES.
 */
export async function refuse(
  socket: NetlinkSocket,
  ended: readonly Connection[],
  isPoliced: (ip: Ip) => boolean,
): Promise<Crowded> {
  const [silenced, forgotten]: [Ip[], Ip[]] = [[], []];
  for (const family of FAMILIES)
    for (const kind of ['streams', 'datagrams', 'pairs'] as const) {
      const some = ended.filter((each) => familyOf(each.source) === family && endedAs(each) === kind);
      if (await remember(socket, family, kind, some)) continue;
      if (kind === 'datagrams' && (await remember(socket, family, 'pairs', some))) continue;
      const pods = some.flatMap(({ source, destination }) => [source, destination].filter(isPoliced));
      const isKept =
        kind === 'streams' && (await add(socket, family, silencedSet(family), pods.map(silencedElement)));
      (isKept ? silenced : forgotten).push(...pods);
    }
  return { silenced, forgotten };
}

/** Those that are silenced already, also by an agent before this one. */
export async function silencedPods(socket: NetlinkSocket): Promise<readonly Ip[]> {
  const all: Ip[] = [];
  for (const family of FAMILIES) {
    const elements = await readElements(socket, endedTableOf(family), silencedSet(family));
    all.push(...elements.map(({ key }) => parseIp(key)));
  }
  return all;
}

/** Whether there was room. */
function remember(
  socket: NetlinkSocket,
  family: Family,
  of: Ended,
  ended: readonly Connection[],
): Promise<boolean> {
  const set = of === 'pairs' ? pairSet(family) : endedSet(of, family);
  return add(
    socket,
    family,
    set,
    ended.map((each) => endedElement(of, each)),
  );
}

/** Likewise. */
async function add(
  socket: NetlinkSocket,
  family: Family,
  set: SetValue,
  elements: readonly PassingElement[],
): Promise<boolean> {
  const different = [...new Map(elements.map((each) => [each.key, each])).values()];
  try {
    await commit(socket, elementAdd(endedTableOf(family), set, different));
    return true;
  } catch (error) {
    if (!(error instanceof FlatnetError) || error.errno !== 'ENFILE') throw error;
    return false;
  }
}
