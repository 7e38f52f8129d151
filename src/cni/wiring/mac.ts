import { isPhysical } from '../../cluster/wiring.ts';
import { addressOf } from '../../ip/cidr.ts';
import { type Mac, macFromSeed } from '../../ip/mac.ts';
import { fdbDump } from '../../linux/fdb.ts';
import { type Link, linkDump } from '../../linux/link/link.ts';
import { neighbourDump } from '../../linux/neighbour.ts';
import { netnsPeerId } from '../../linux/netns-peer.ts';
import { OUR_ALIAS } from '../../state/ownership.ts';
import type { Attachment, AttachmentKey } from '../records/attachment.ts';
import type { CniState } from '../state.ts';
import { findLink } from './links.ts';
import { podNamespaces } from './namespaces.ts';
import { PodNetns } from './pod-netns.ts';

/** What the MAC of a pod's interface depends on unless it asks for one. */
export type MacSeed = Pick<Attachment, 'wiring' | 'bridge' | 'hostDevice' | 'addresses'>;
type Seeded = MacSeed & Partial<Pick<AttachmentKey, 'containerId' | 'ifName'>>;

/**
 * The MACs that we give a pod's interface: the first unless another attachment has it.
 *
 * On a bridge it is derived from the address: when that moves to another pod, the neighbour tables of the
 * host and other pods are immediately correct, without gratuitous ARP. On a physical network, where others
 * have MACs that nobody here knows, it is derived from what is unique everywhere.
 */
export function derivedMacs({
  wiring,
  bridge = '',
  hostDevice = '',
  addresses: [first],
  containerId,
  ifName,
}: Seeded): readonly [Mac, Mac] {
  if (wiring !== undefined && isPhysical(wiring)) {
    const of = `${containerId} ${ifName}`;
    return [macFromSeed(of), macFromSeed(`${of} again`)];
  }
  const own =
    wiring === 'routed' ? `${hostDevice} pod` : `${bridge} ${first ? addressOf(first) : hostDevice}`;
  return [macFromSeed(own), macFromSeed(`${hostDevice} own`)];
}

/** Chooses the MAC of a new attachment, whose record is on disk, and holds it. */
export function chooseMac(key: AttachmentKey, seed: MacSeed, { attachments }: CniState): Mac {
  const [first, second] = derivedMacs({ ...seed, ...key });
  const mac = attachments.withMac(first, key).length === 0 ? first : second;
  attachments.holdMac(mac, key);
  return mac;
}

/**
 * Who has the MAC apart from attachments: a device of the node, or something that another plugin put on the
 * bridge and the bridge knows. Undefined if nobody does.
 */
export function strangerWithMac(mac: Mac, { link: socket, context }: CniState): string | undefined {
  const links = socket.dumpSync(linkDump());
  return deviceWithMac(mac, links) ?? portWithMac(mac, links, { link: socket, context });
}

function deviceWithMac(mac: Mac, links: readonly Link[]): string | undefined {
  const device = links.find((link) => link.mac === mac);
  return device && `the node’s device ${device.name}`;
}

function portWithMac(
  mac: Mac,
  links: readonly Link[],
  { link: socket, context }: Pick<CniState, 'link' | 'context'>,
): string | undefined {
  const bridge = links.find(({ name }) => name === context.bridge)?.index;
  const foreign = links.filter(
    ({ master, alias }) => bridge !== undefined && master === bridge && !alias?.startsWith(OUR_ALIAS),
  );
  const port = foreign.find(({ index }) =>
    socket.dumpSync(fdbDump(index)).some((entry) => entry.mac === mac),
  );
  return port && `something behind ${port.name}`;
}

/**
 * Who apart from attachments has the MAC of a pod that another plugin has put on the bridge by `own`. If only
 * the pod shows it (`isCertain` is false), then whoever else shows it counts, too.
 */
export function strangerWithMacOf(
  mac: Mac,
  { own, isCertain }: { readonly own: Link; readonly isCertain: boolean },
  state: CniState,
): string | undefined {
  const links = state.link.dumpSync(linkDump());
  const device = deviceWithMac(mac, links);
  if (device !== undefined || isCertain) return device;
  const others = links.filter(({ index }) => index !== own.index);
  return portWithMac(mac, others, state) ?? otherPodWithMac(mac, others, state);
}

/** The pod behind one of these links that shows the MAC. */
function otherPodWithMac(mac: Mac, links: readonly Link[], state: CniState): string | undefined {
  for (const netns of podNamespaces(state.netns)) {
    using pod = netns;
    const id = state.link.getSync(netnsPeerId(pod.fd));
    const here = links.filter(({ netnsId }) => netnsId !== undefined && netnsId === id);
    if (here.length === 0) continue;
    const ends = pod.link.dumpSync(linkDump({ kind: 'veth' })).filter((end) => end.mac === mac);
    const same = ends.find((end) => here.some(({ index }) => index === end.linkIndex));
    if (same) return `${same.name} in ${pod.path}`;
  }
  return undefined;
}

/**
 * The MAC that a pod's interface shows to the node: in its namespace, or else in the neighbour table. Not to
 * be believed for that alone.
 */
export function shownMac(record: Attachment, state: CniState): Mac | undefined {
  using netns = PodNetns.tryOpenKnown(record, state.netns);
  return (netns && findLink(netns.link, record.ifName)?.mac) ?? neighbourMac(record, state);
}

function neighbourMac(record: Attachment, { link: socket }: CniState): Mac | undefined {
  const device = findLink(socket, record.bridge ?? record.hostDevice ?? '');
  const ips = record.addresses.map(addressOf);
  const neighbours = device ? socket.dumpSync(neighbourDump({ dev: device.index })) : [];
  return neighbours.find(({ ip, mac }) => mac !== undefined && ips.includes(ip))?.mac;
}
