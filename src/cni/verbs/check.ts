import { codeOf } from '../../error.ts';
import { FAMILIES, familyOf, type Ip } from '../../ip/address.ts';
import { addressOf, parsePrefixed } from '../../ip/cidr.ts';
import { addressDump } from '../../linux/address.ts';
import type { Link } from '../../linux/link/link.ts';
import type { NetlinkSocket } from '../../linux/netlink/socket.ts';
import { RT_TABLE_MAIN, routeDump } from '../../linux/route.ts';
import { reservationsDir, roleOf } from '../protocol/conf.ts';
import { CniError, CODE } from '../protocol/error.ts';
import type { Invocation } from '../protocol/invocation.ts';
import { decodeResult, type Result } from '../protocol/result.ts';
import type { Attachment } from '../records/attachment.ts';
import { localPod } from '../records/local-pod.ts';
import type { CniState } from '../state.ts';
import { findLink } from '../wiring/pod-link.ts';
import { PodNetns } from '../wiring/pod-netns.ts';
import { checkRouted } from '../wiring/routed/check.ts';
import { DOOMED } from '../wiring/sweep.ts';
import { keyOf } from './del.ts';

/**
 * CHECK: throws naming what of the attachment is missing or wrong: interface, addresses and routes as the chain's result has
 * them, the host's end as we made it, the reservation. What others in the chain added does not matter.
 */
export async function check(call: Invocation, state: CniState): Promise<undefined> {
  if (!call.conf.has('prevResult')) throw new CniError(CODE.INVALID_CONFIG, 'Required prevResult missing');
  const result = decodeResult(call.conf.raw('prevResult'));
  const role = roleOf(call.conf) === 'ipam' ? 'ipam' : 'interface';
  const record = state.attachments.read(keyOf(call, role));
  const whole = record?.state === 'ready' ? record : undefined;
  if (record && !whole) throw wrong(`the attachment is half made (${record.state})`);
  if (whole?.handle) await checkHandle(whole.handle, whole, state);
  else if (!whole?.chained) checkReservation(call, state, whole);
  if (role === 'ipam') return;
  using netns = PodNetns.open(call.netns, state.netns);
  if (whole && whole.bootId === state.bootId && whole.netnsId !== netns.id) {
    throw wrong(`"${call.netns}" is another network namespace than at ADD`);
  }
  const pod = netns.link;
  // The agent lets the MTU of its pods follow that of the node.
  const mtu = whole?.managed ? state.context.mtu : whole?.mtu;
  const link = checkPod(call, pod, result, mtu);
  if (!whole || whole.chained) return;
  const outside = checkHost({ ...whole, ...(mtu ? { mtu } : {}) }, link, state);
  const known = localPod(whole);
  if (whole.wiring !== 'routed') checkPort(whole, outside, state);
  else if (known)
    checkRouted({ pod: known, inside: link, outside, inner: pod, routes: result.routes }, state);
}

/** With the store away nobody can tell, which is no fault of the attachment. */
async function checkHandle(handle: string, record: Attachment, state: CniState): Promise<void> {
  let held: readonly Ip[];
  try {
    held = (await state.context.assigner?.held(handle))?.map(({ ip }) => ip) ?? [];
  } catch (error) {
    if (codeOf(error) === 'STORE_UNAVAILABLE') return;
    throw error;
  }
  const missing = record.addresses.map(addressOf).find((address) => !held.includes(address));
  if (missing && state.context.assigner) throw wrong(`${handle} does not hold ${missing} any more`);
}

function checkReservation(call: Invocation, state: CniState, record: Attachment | undefined): void {
  if (record && record.addresses.length === 0) return;
  const held = state.pools.in(record?.dir || reservationsDir(call, state.context)).check(call);
  const missing = record?.addresses.find((address) => !held.includes(addressOf(address)));
  if (missing) throw wrong(`the reservation of ${addressOf(missing)} is gone`);
  if (held.length === 0) {
    throw wrong(`Failed to find address added by container ${call.containerId}`);
  }
}

/** The pod's end, against the result of the whole chain. */
function checkPod(call: Invocation, pod: NetlinkSocket, result: Result, mtu: number | undefined): Link {
  const index = result.interfaces.findIndex(({ name, sandbox }) => name === call.ifName && sandbox);
  const expected = result.interfaces[index];
  if (result.interfaces.length > 0 && !expected) {
    throw wrong(`prevResult has no interface ${call.ifName} in the container`);
  }
  if (expected?.sandbox && expected.sandbox !== call.netns) {
    throw wrong(`prevResult has ${call.ifName} in ${expected.sandbox}, not in ${call.netns}`);
  }
  const link = findLink(pod, call.ifName);
  if (!link) throw wrong(`${call.ifName} is missing in the container`);
  if (!link.up) throw wrong(`${call.ifName} is down`);
  if (expected?.mac && expected.mac.toLowerCase() !== link.mac) {
    throw wrong(`${call.ifName} has the MAC ${link.mac}, not ${expected.mac}`);
  }
  if (expected?.mtu && expected.mtu !== link.mtu && mtu !== link.mtu) {
    throw wrong(`${call.ifName} has the MTU ${link.mtu}, not ${expected.mtu}`);
  }
  checkAddresses(pod, link, result, index);
  checkRoutes(pod, result);
  return link;
}

function checkAddresses(pod: NetlinkSocket, link: Link, result: Result, index: number): void {
  const present = pod.dumpSync(addressDump(undefined, link.index)).map(({ address }) => address);
  const ips = result.ips.filter((ip) => ip.interface === undefined || index < 0 || ip.interface === index);
  for (const { address } of ips) {
    if (!present.includes(parsePrefixed(address))) throw wrong(`${link.name} lacks the address ${address}`);
  }
}

/** By destination and gateway: another plugin may have moved a route to another device, or changed its metric. */
function checkRoutes(pod: NetlinkSocket, result: Result): void {
  for (const family of FAMILIES) {
    const expected = result.routes.filter(({ dst }) => familyOf(dst) === family);
    if (expected.length === 0) continue;
    const present = pod.dumpSync(routeDump({ family }));
    for (const { dst, gw, table = RT_TABLE_MAIN } of expected) {
      const found = present.some(
        (route) => route.dst === dst && (route.table ?? RT_TABLE_MAIN) === table && (!gw || route.via === gw),
      );
      if (!found) throw wrong(`the route to ${dst}${gw ? ` via ${gw}` : ''} is missing`);
    }
  }
}

/** The host's end, whatever it hangs on. */
function checkHost(record: Attachment, inside: Link, state: CniState): Link {
  const { hostDevice = '', mtu } = record;
  const outside = findLink(state.link, hostDevice);
  if (!outside || outside.group === DOOMED) throw wrong(`the host's end ${hostDevice} is missing`);
  if (inside.linkIndex !== outside.index || outside.linkIndex !== inside.index) {
    throw wrong(`${inside.name} and ${hostDevice} are not ends of one pair`);
  }
  if (!outside.up) throw wrong(`the host's end ${hostDevice} is down`);
  if (mtu && outside.mtu !== mtu)
    throw wrong(`the host's end ${hostDevice} has the MTU ${outside.mtu}, not ${mtu}`);
  // A later plugin may have lowered it.
  if (mtu && inside.mtu > mtu) throw wrong(`${inside.name} has the MTU ${inside.mtu}, more than ${mtu}`);
  return outside;
}

function checkPort(
  { bridge = '', hairpin }: Attachment,
  { name, master, port }: Link,
  state: CniState,
): void {
  if (!master || findLink(state.link, master)?.name !== bridge) {
    throw wrong(`the host's end ${name} is not a port of ${bridge}`);
  }
  if (hairpin && !port?.hairpin) throw wrong(`hairpin mode of ${name} is off`);
}

export function wrong(text: string): CniError {
  return new CniError(CODE.INTERNAL, text);
}
