import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type PerFamily, perFamily, type Self } from '../../cluster/node.ts';
import { codeOf, messageOf } from '../../error.ts';
import { FAMILIES, type Family } from '../../ip/address.ts';
import { type Mac, macFromBytes, parseMac } from '../../ip/mac.ts';
import { type Link, linkDump } from '../../linux/link/link.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../linux/netlink/socket.ts';
import type { Log } from '../../log.ts';
import { replaceFile } from '../../replace-file.ts';
import { OUR_ALIAS } from '../../state/ownership.ts';

const FILE = 'tunnel-macs.json';
/** `flannel.1`, `flannel-v6.1` and their short forms: also those that flanneld made. */
const DEVICES: Record<Family, RegExp> = { 4: /^fl(annel)?\.\d+$/, 6: /^fl(annel)?-v6\.\d+$/ };

/**
 * Returns the MACs of this node's tunnel devices, the same after every restart. They are chosen at random, so
 * that nobody outside the cluster can address a frame to them, and kept in the state folder. Existing devices
 * keep theirs: peers know them. flanneld's come first, whatever we had: a node may go to flannel and back.
 * `netns`: as for `NetlinkSocket.open`.
 */
export function tunnelMacs(stateDir: string, log: Log, netns?: string): Self['tunnelMacs'] {
  const path = join(stateDir, FILE);
  const known = read(path, log);
  const { flannels, ours } = presentMacs(netns);
  const chosen = (family: Family): Mac => flannels[family] ?? known[family] ?? ours[family] ?? randomMac();
  const macs = { 4: chosen(4), 6: chosen(6) };
  if (macs[4] === known[4] && macs[6] === known[6]) return macs;
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  replaceFile(path, JSON.stringify(macs), { mode: 0o600 });
  return macs;
}

function read(path: string, log: Log): { readonly [F in Family]?: Mac } {
  try {
    const value = new Map<string, unknown>(Object.entries(JSON.parse(readFileSync(path, 'utf8'))));
    return Object.fromEntries(FAMILIES.map((family) => [family, parseMac(String(value.get(`${family}`)))]));
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') {
      log.warn({ path, error: messageOf(error) }, 'cannot read the MACs of tunnels; chosen anew');
    }
    return {};
  }
}

function presentMacs(netns: string | undefined): Readonly<Record<'flannels' | 'ours', PerFamily<Mac>>> {
  using netlink = NetlinkSocket.open(NETLINK_ROUTE, { netns });
  const links = netlink.dumpSync(linkDump({ kind: 'vxlan' }));
  const isOurs = ({ alias }: Link): boolean => alias?.startsWith(OUR_ALIAS) ?? false;
  const among = (some: readonly Link[]): PerFamily<Mac> =>
    perFamily((family) => some.find(({ name }) => DEVICES[family].test(name))?.mac);
  return { flannels: among(links.filter((link) => !isOurs(link))), ours: among(links.filter(isOurs)) };
}

/** A locally administered unicast MAC. */
function randomMac(): Mac {
  const bytes = crypto.getRandomValues(new Uint8Array(6));
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02;
  return macFromBytes(bytes);
}
