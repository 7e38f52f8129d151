import type { LocalPod } from '../../../cluster/node.ts';
import { codeOf } from '../../../error.ts';
import { FAMILIES, type Family, familyOf } from '../../../ip/address.ts';
import { hostCidr } from '../../../ip/cidr.ts';
import { addressDump } from '../../../linux/address.ts';
import type { Link } from '../../../linux/link/link.ts';
import { NUD_PERMANENT, neighbourDump } from '../../../linux/neighbour.ts';
import type { NetlinkSocket } from '../../../linux/netlink/socket.ts';
import { RT_TABLE_MAIN, routeDump } from '../../../linux/route.ts';
import { readSysctl } from '../../../linux/sysctl.ts';
import { deviceSysctls, GATEWAY, HOST_MAC, podRoutes } from '../../../wiring/pod-device.ts';
import { familiesOf } from '../../addresses/blocks.ts';
import { CniError, CODE } from '../../protocol/error.ts';
import type { CniState } from '../../state.ts';
import type { CheckedAttachment } from '../wiring.ts';

/** Checks what only routed pods have: routes to and from the pod, the gateway, the host device's settings. */
export function check({ pod, inside, outside, netns, result }: CheckedAttachment, state: CniState): void {
  if (!outside) return;
  const families = familiesOf(state.context);
  if (outside.mac !== HOST_MAC)
    throw wrong(`${outside.name} has the MAC ${outside.mac}, not ${HOST_MAC}, which pods expect`);
  checkSettings(pod, outside.name, families, state);
  if (families.includes(6)) checkGatewayAddress(outside, state);
  for (const { dst } of podRoutes(pod)) {
    const present = state.link.dumpSync(routeDump({ family: familyOf(dst), table: RT_TABLE_MAIN }));
    const there = present.some((route) => route.dst === dst && route.dev === outside.index);
    if (!there) throw wrong(`the node has no route to ${dst} via ${outside.name}`);
  }
  for (const family of FAMILIES) {
    if (result.routes.some(({ gw }) => gw === GATEWAY[family])) checkGateway(family, inside, netns.link);
  }
}

function checkSettings(pod: LocalPod, name: string, families: readonly Family[], state: CniState): void {
  state.inNode(() => {
    for (const [path, value] of deviceSysctls(name, families, pod)) {
      const present = readIfThere(path);
      if (present !== undefined && present !== value) throw wrong(`${path} is ${present}, not ${value}`);
    }
  });
}

function checkGatewayAddress({ name, index }: Link, state: CniState): void {
  const addresses = state.link.dumpSync(addressDump(6, index));
  if (!addresses.some(({ address }) => address.startsWith(`${GATEWAY[6]}/`))) {
    throw wrong(`${name} lacks the gateway address ${GATEWAY[6]}`);
  }
}

/** Checks the pod's side. Its default route is compared with the result elsewhere. */
function checkGateway(family: Family, { index, name }: Link, pod: NetlinkSocket): void {
  const gateway = GATEWAY[family];
  const neighbour = pod.dumpSync(neighbourDump({ family, dev: index })).find(({ ip }) => ip === gateway);
  if (neighbour?.mac !== HOST_MAC || ((neighbour.state ?? 0) & NUD_PERMANENT) === 0) {
    throw wrong(`${name} lacks the permanent neighbour ${gateway} with MAC ${HOST_MAC}`);
  }
  if (family === 6) return;
  const routes = pod.dumpSync(routeDump({ family, table: RT_TABLE_MAIN }));
  if (!routes.some(({ dst, dev }) => dst === hostCidr(gateway) && dev === index)) {
    throw wrong(`the route to ${hostCidr(gateway)} is missing`);
  }
}

function wrong(text: string): CniError {
  return new CniError(CODE.INTERNAL, text);
}

/** A kernel without IPv6 lacks its settings. */
function readIfThere(path: string): string | undefined {
  try {
    return readSysctl(path);
  } catch (error) {
    if (codeOf(error) === 'NOT_FOUND') return undefined;
    throw error;
  }
}
