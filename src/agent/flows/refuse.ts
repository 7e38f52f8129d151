import { FlatnetError } from '../../error.ts';
import { FAMILIES, type Family, familyOf, type Ip } from '../../ip/address.ts';
import type { NetlinkSocket } from '../../linux/netlink/socket.ts';
import { elementAdd } from '../../linux/nftables/element.ts';
import { commit } from '../../linux/nftables/transaction.ts';
import type { PassingElement } from '../../linux/nftables/values/element.ts';
import type { SetValue } from '../../linux/nftables/values/table.ts';
import type { Log } from '../../log.ts';
import type { Connection } from '../../policy/compile/verdicts.ts';
import { endedAs, endedElement, silencedElement } from '../../policy/flows/ended.ts';
import { endedSet, endedTableOf, silencedSet } from '../../policy/flows/table.ts';

/**
 * Keeps connections that are about to be ended from going on. Where there is no room to remember each, as one
 * pod may have had thousands, none of these pods' streams goes on that the kernel does not know. `isPoliced`:
 * whether an address is of a pod of this node that policies are about. Throws NFTABLES.
 */
export async function refuse(
  socket: NetlinkSocket,
  ended: readonly Connection[],
  isPoliced: (ip: Ip) => boolean,
  log: Log,
): Promise<void> {
  for (const family of FAMILIES)
    for (const kind of ['streams', 'datagrams'] as const) {
      const some = ended.filter((each) => familyOf(each.source) === family && endedAs(each) === kind);
      const elements = some.map((each) => endedElement(kind, each));
      if (await remember(socket, family, endedSet(kind, family), elements)) continue;
      const pods = some.flatMap(({ source, destination }) => [source, destination].filter(isPoliced));
      const isKept =
        kind === 'streams' &&
        (await remember(socket, family, silencedSet(family), pods.map(silencedElement)));
      const what = isKept
        ? 'too many connections have been ended to remember each: of these pods, no TCP goes on that the kernel does not know'
        : 'too many connections have been ended to remember them all: some may go on';
      log.warn({ family, pods: new Set(pods).size }, what);
    }
}

/** Whether there was room. */
async function remember(
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
