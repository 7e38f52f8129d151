import { addressDump } from '../../linux/address.ts';
import { linkSet } from '../../linux/link/change.ts';
import type { NetlinkSocket } from '../../linux/netlink/socket.ts';
import { CniError, CODE } from '../protocol/error.ts';
import type { Invocation } from '../protocol/invocation.ts';
import { encodeResult, type Result } from '../protocol/result.ts';
import type { CniState } from '../state.ts';
import { findLink } from '../wiring/links.ts';
import { PodNetns } from '../wiring/pod-netns.ts';

/** Interface index of `lo` in every namespace. */
const LOOPBACK = 1;

/** ADD of the `loopback` plugin: brings `lo` up and reports the addresses the kernel assigned to it. */
export function loopbackAdd(call: Invocation, state: CniState): object {
  using netns = PodNetns.open(call.netns, state.netns);
  const pod = netns.link;
  pod.executeSync(linkSet(LOOPBACK, { up: true }));
  const previous = call.conf.raw('prevResult');
  if (typeof previous === 'object' && previous !== null) return previous;
  return encodeResult(loopbackResult(call, pod), call.version);
}

export function loopbackCheck(call: Invocation, state: CniState): undefined {
  using netns = PodNetns.open(call.netns, state.netns);
  const pod = netns.link;
  if (findLink(pod, LOOPBACK)?.up) return;
  throw new CniError(CODE.INTERNAL, 'loopback interface is down', `netns "${call.netns}"`);
}

export function loopbackDel(call: Invocation, state: CniState): undefined {
  using netns = PodNetns.tryOpen(call.netns, state.netns);
  if (!netns) return;
  const pod = netns.link;
  pod.executeSync(linkSet(LOOPBACK, { up: false }));
}

function loopbackResult(call: Invocation, pod: NetlinkSocket): Result {
  const addresses = pod.dumpSync(addressDump(undefined, LOOPBACK));
  return {
    interfaces: [{ name: call.ifName, mac: '00:00:00:00:00:00', sandbox: call.netns }],
    ips: addresses.map(({ address }) => ({ interface: 0, address })),
    routes: [],
    dns: {},
  };
}
