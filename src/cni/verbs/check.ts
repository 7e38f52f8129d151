import { FAMILIES, familyOf } from '../../ip/address.ts';
import { parsePrefixed } from '../../ip/cidr.ts';
import { addressDump } from '../../linux/address.ts';
import type { Link } from '../../linux/link/link.ts';
import type { NetlinkSocket } from '../../linux/netlink/socket.ts';
import { RT_TABLE_MAIN, routeDump } from '../../linux/route.ts';
import { checkAddresses } from '../addresses/held.ts';
import { readTuning } from '../capabilities/tuning.ts';
import { roleOf } from '../protocol/conf.ts';
import { CniError, CODE } from '../protocol/error.ts';
import type { Invocation } from '../protocol/invocation.ts';
import { decodeResult, type Result } from '../protocol/result.ts';
import { type Attachment, keyOf } from '../records/attachment.ts';
import { localPod } from '../records/local-pod.ts';
import { UNKNOWN_NETNS } from '../records/record.ts';
import type { CniState } from '../state.ts';
import { findLink } from '../wiring/links.ts';
import { PodNetns } from '../wiring/pod-netns.ts';
import { wiringOf } from '../wiring/registry.ts';
import { DOOMED } from '../wiring/sweep.ts';
import { checkTuning } from '../wiring/tuning.ts';
import { checkBandwidth } from './bandwidth.ts';
import { checkHostPorts } from './host-ports.ts';
import { readOrRecover } from './recover.ts';

/**
 * CHECK: throws CniError 999 naming what is missing or wrong. Compares interface, addresses and routes with
 * the chain's result and the host end with our record, and checks the reservation. Ignores additions by other
 * plugins.
 */
export async function check(call: Invocation, state: CniState): Promise<undefined> {
  if (!call.conf.has('prevResult')) throw new CniError(CODE.INVALID_CONFIG, 'Required prevResult missing');
  const result = decodeResult(call.conf.raw('prevResult'));
  const role = roleOf(call.conf) === 'ipam' ? 'ipam' : 'interface';
  const found = await readOrRecover(keyOf(call, role), state);
  if (found && found.state !== 'ready') throw wrong(`the attachment is incomplete (${found.state})`);
  const record = found;
  if (!record?.chained) await checkAddresses(record, call, state);
  if (role === 'ipam') return;
  using netns = PodNetns.open(call.netns, state.netns);
  if (record && record.bootId === state.bootId && ![netns.id, UNKNOWN_NETNS].includes(record.netnsId)) {
    throw wrong(`"${call.netns}" is not the network namespace given to ADD`);
  }
  // The agent updates its pods' MTU when the node's changes.
  const mtu = record?.managed ? state.context.mtu : record?.mtu;
  const inside = checkPod(call, netns.link, result, mtu);
  checkTuning(netns, call.ifName, readTuning(call.conf, call.ifName));
  if (record) {
    await checkHostPorts(call, record, state);
    checkBandwidth(call, record, state);
  }
  if (!record || record.chained) return;
  const outside = record.hostDevice === undefined ? undefined : checkHost(record, inside, mtu, state);
  const pod = localPod(record);
  if (pod) wiringOf(record).check({ record, pod, inside, ...(outside && { outside }), netns, result }, state);
}

/** Compares the pod's end with the result of the whole chain. */
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
  checkPodAddresses(pod, link, result, index);
  checkRoutes(pod, result);
  return link;
}

function checkPodAddresses(pod: NetlinkSocket, link: Link, result: Result, index: number): void {
  const present = pod.dumpSync(addressDump(undefined, link.index)).map(({ address }) => address);
  const ips = result.ips.filter((ip) => ip.interface === undefined || index < 0 || ip.interface === index);
  for (const { address } of ips) {
    if (!present.includes(parsePrefixed(address))) throw wrong(`${link.name} lacks the address ${address}`);
  }
}

/** Compares destination and gateway only: another plugin may have changed a route's device or metric. */
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

/** Checks the properties of the host end common to all wirings. */
function checkHost(record: Attachment, inside: Link, mtu: number | undefined, state: CniState): Link {
  const { hostDevice = '' } = record;
  const outside = findLink(state.link, hostDevice);
  if (!outside || outside.group === DOOMED) throw wrong(`the host's end ${hostDevice} is missing`);
  if (inside.linkIndex !== outside.index || outside.linkIndex !== inside.index) {
    throw wrong(`${inside.name} and ${hostDevice} are not ends of one pair`);
  }
  if (!outside.up) throw wrong(`the host's end ${hostDevice} is down`);
  if (mtu && outside.mtu !== mtu) {
    throw wrong(`the host's end ${hostDevice} has the MTU ${outside.mtu}, not ${mtu}`);
  }
  // A later plugin may have lowered it.
  if (mtu && inside.mtu > mtu) throw wrong(`${inside.name} has the MTU ${inside.mtu}, more than ${mtu}`);
  return outside;
}

function wrong(text: string): CniError {
  return new CniError(CODE.INTERNAL, text);
}
