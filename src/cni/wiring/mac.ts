import { addressOf } from '../../ip/cidr.ts';
import { type Mac, macFromSeed } from '../../ip/mac.ts';
import { fdbDump } from '../../linux/fdb.ts';
import { linkDump } from '../../linux/link/link.ts';
import { neighbourDump } from '../../linux/neighbour.ts';
import { OUR_ALIAS } from '../../state/ownership.ts';
import type { Attachment, AttachmentKey } from '../records/attachment.ts';
import type { CniState } from '../state.ts';
import { findLink } from './links.ts';
import { PodNetns } from './pod-netns.ts';

/** What the MAC of a pod's interface depends on unless it asks for one. */
export type MacSeed = Pick<Attachment, 'wiring' | 'bridge' | 'hostDevice' | 'addresses'>;

/**
 * The MACs that we give a pod's interface: the first unless another attachment has it.
 *
 * On a bridge it is derived from the address: when that moves to another pod, the neighbour tables of the
 * host and other pods are immediately correct, without gratuitous ARP.
 */
export function derivedMacs({
  wiring,
  bridge = '',
  hostDevice = '',
  addresses: [first],
}: MacSeed): readonly [Mac, Mac] {
  const own =
    wiring === 'routed' ? `${hostDevice} pod` : `${bridge} ${first ? addressOf(first) : hostDevice}`;
  return [macFromSeed(own), macFromSeed(`${hostDevice} own`)];
}

/** Chooses the MAC of a new attachment, whose record is on disk, and holds it. */
export function chooseMac(key: AttachmentKey, seed: MacSeed, { attachments }: CniState): Mac {
  const [first, second] = derivedMacs(seed);
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
  const device = links.find((link) => link.mac === mac);
  if (device) return `the node’s device ${device.name}`;
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
