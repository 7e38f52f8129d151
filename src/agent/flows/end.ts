import { FAMILIES, type Family, familyOf, type Ip } from '../../ip/address.ts';
import { type End, type Forwarded, forwardedDelete, forwardedDump } from '../../linux/conntrack/forwarded.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../../linux/netlink/socket.ts';

/** So many addresses are asked for one by one: the kernel then reports nothing else. */
const FEW = 4;
/** So many connections are ended before other work has its turn. */
const AT_ONCE = 500;

/**
 * Ends the tracked connections with an end among `at` that `isDenied` picks: the kernel forgets them. Returns
 * their number. `before`: called with some of them at a time, before these go. `netns`: a path; by default
 * the thread's own.
 */
export async function endConnections(
  at: ReadonlySet<Ip>,
  isDenied: (connection: Forwarded) => boolean,
  before: (some: readonly Forwarded[]) => Promise<void> = async () => {},
  netns?: string,
): Promise<number> {
  using socket = NetlinkSocket.open(NETLINK_NETFILTER, { netns });
  let count = 0;
  for (const family of FAMILIES) {
    const denied = await read(socket, family, at, isDenied);
    for (let i = 0; i < denied.length; i += AT_ONCE) {
      const some = denied.slice(i, i + AT_ONCE);
      await before(some);
      for (const error of await socket.executeAll(some.map(forwardedDelete))) {
        if (error === undefined) count++;
        else if (error.errno !== 'ENOENT') throw error;
      }
    }
  }
  return count;
}

async function read(
  socket: NetlinkSocket,
  family: Family,
  at: ReadonlySet<Ip>,
  isDenied: (connection: Forwarded) => boolean,
): Promise<readonly Forwarded[]> {
  const own = [...at].filter((ip) => familyOf(ip) === family);
  if (own.length === 0) return [];
  const ends: readonly End[] =
    own.length > FEW ? [undefined] : own.flatMap((ip) => [{ source: ip }, { destination: ip }]);
  const found: Forwarded[] = [];
  for (const end of ends) found.push(...(await socket.dump(forwardedDump(family, end, at, isDenied))));
  return found;
}
