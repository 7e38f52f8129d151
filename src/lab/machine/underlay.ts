import { closeSync, existsSync } from 'node:fs';
import { FAMILIES, type Family, familyOf } from '../../ip/address.ts';
import { hostCidr, type Prefixed, parseCidr } from '../../ip/cidr.ts';
import { macFromSeed } from '../../ip/mac.ts';
import { addressReplace, IFA_F_NODAD } from '../../linux/address.ts';
import { linkAdd, linkDelete, linkSet } from '../../linux/link/change.ts';
import { linkDump, linkGet } from '../../linux/link/link.ts';
import type { Request } from '../../linux/netlink/message.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../linux/netlink/socket.ts';
import { createNetns, deleteNetns, netnsPath, openNetns, withNetns } from '../../linux/netns.ts';
import { routeReplace } from '../../linux/route.ts';
import { writeSysctl } from '../../linux/sysctl.ts';
import { netnsOf, torName } from '../record/names.ts';
import type { LabNode } from '../record/topology.ts';
import { gateway, nodeAddresses, OUTSIDE, routerAddresses, torAddresses } from './underlay-plan.ts';

const LOOPBACK = 1;
const SPINE = 'spine';
const DEFAULT_ROUTE = { 4: parseCidr('0.0.0.0/0'), 6: parseCidr('::/0') };

/** The address families this kernel supports. */
export function kernelFamilies(): Family[] {
  return FAMILIES.filter((family) => existsSync(`/proc/sys/net/ipv${family}`));
}

/**
 * Creates the network between the nodes: in `<lab>-underlay` a bridge `subnet<k>` for each subnet, in
 * `<lab>-router` an interface in each subnet and the address that stands for the outside world. `isShared`:
 * pods are in the subnet, too.
 */
export async function createUnderlay(lab: string, subnets: number, isShared = false): Promise<void> {
  const underlay = createNetns(netnsOf(lab, 'underlay'));
  const router = createNetns(netnsOf(lab, 'router'));
  using inUnderlay = NetlinkSocket.open(NETLINK_ROUTE, { netns: underlay });
  using inRouter = NetlinkSocket.open(NETLINK_ROUTE, { netns: router });
  forward(router);
  for (let subnet = 0; subnet < subnets; subnet++) {
    const bridge = { kind: 'bridge', multicastSnooping: false } as const;
    await inUnderlay.execute(linkAdd({ name: bridgeOf(subnet), up: true, data: bridge }));
    await addLeg(inUnderlay, router, {
      port: `router${subnet}`,
      bridge: bridgeOf(subnet),
      dev: `eth${subnet}`,
      seed: `${lab} router ${subnet}`,
    });
    await inRouter.execute(await configure(inRouter, `eth${subnet}`, routerAddresses(subnet, isShared)));
  }
  const outside = Object.values(OUTSIDE).map((ip) => hostCidr(ip) as string as Prefixed);
  await inRouter.execute(await configure(inRouter, 'lo', outside));
}

/**
 * Creates the namespaces of the top-of-rack routers, each with `eth0` in its subnet and `eth1` on the bridge
 * `spine`, which connects the routers. Their routes come from BGP.
 */
export async function createTors(lab: string, subnets: number): Promise<void> {
  using inUnderlay = NetlinkSocket.open(NETLINK_ROUTE, { netns: netnsPath(netnsOf(lab, 'underlay')) });
  const bridge = { kind: 'bridge', multicastSnooping: false } as const;
  await inUnderlay.execute(linkAdd({ name: SPINE, up: true, data: bridge }));
  for (let subnet = 0; subnet < subnets; subnet++) {
    const tor = torName(subnet);
    const netns = createNetns(netnsOf(lab, tor));
    if (kernelFamilies().includes(6)) {
      // FRR refuses IPv6 sessions until there is a link-local address: duplicate address detection would take
      // a second or two.
      withNetns(netns, () => writeSysctl('net/ipv6/conf/default/accept_dad', 0));
    }
    using inTor = NetlinkSocket.open(NETLINK_ROUTE, { netns });
    forward(netns);
    await inTor.execute(await configure(inTor, 'lo', []));
    for (const [dev, addresses] of Object.entries(torAddresses(subnet))) {
      const [port, master] = dev === 'eth0' ? [tor, bridgeOf(subnet)] : [`${SPINE}${subnet}`, SPINE];
      await addLeg(inUnderlay, netns, { port, bridge: master, dev, seed: `${lab} ${tor} ${dev}` });
      await inTor.execute(await configure(inTor, dev, addresses));
    }
  }
}

function forward(netns: string): void {
  withNetns(netns, () => {
    for (const family of kernelFamilies()) {
      writeSysctl(family === 4 ? 'net/ipv4/ip_forward' : 'net/ipv6/conf/all/forwarding', 1);
    }
  });
}

/**
 * Creates the node's namespace and connects it to its subnet: `eth0` with its addresses, default routes via
 * the router.
 */
export async function createNode(lab: string, node: LabNode, isShared = false): Promise<void> {
  const netns = createNetns(netnsOf(lab, node.name));
  using inUnderlay = NetlinkSocket.open(NETLINK_ROUTE, { netns: netnsPath(netnsOf(lab, 'underlay')) });
  using inNode = NetlinkSocket.open(NETLINK_ROUTE, { netns });
  await addLeg(inUnderlay, netns, {
    port: portOf(node),
    bridge: bridgeOf(node.subnet),
    dev: 'eth0',
    seed: `${lab} ${node.name}`,
  });
  if (kernelFamilies().includes(6)) {
    // The kernel drops IPv6 addresses with the link, and a lab has no network manager to restore them.
    withNetns(netns, () => writeSysctl('net/ipv6/conf/eth0/keep_addr_on_down', 1));
  }
  const addresses = Object.values(nodeAddresses(node.index, node.subnet, isShared));
  const { index } = await inNode.get(linkGet('eth0'));
  const routes = kernelFamilies().map((family) =>
    routeReplace({ dst: DEFAULT_ROUTE[family], via: gateway(node.subnet, family), dev: index }),
  );
  await inNode.execute([
    ...(await configure(inNode, 'lo', [])),
    ...(await configure(inNode, 'eth0', addresses)),
    ...routes,
  ]);
}

/**
 * Deletes a node, even if it was only partly created. The veth pair goes first: the kernel would remove it
 * with the namespace, but some time later.
 */
export async function deleteNode(lab: string, node: LabNode): Promise<void> {
  using inUnderlay = NetlinkSocket.open(NETLINK_ROUTE, { netns: netnsPath(netnsOf(lab, 'underlay')) });
  const ports = await inUnderlay.dump(linkDump());
  const port = ports.find(({ name }) => name === portOf(node));
  if (port) await inUnderlay.execute([linkDelete(port.index)]);
  deleteNetns(netnsOf(lab, node.name));
}

/** Sets the node's switch port up or down, as if its cable were plugged in or pulled. */
export async function setCable(lab: string, node: LabNode, up: boolean): Promise<void> {
  using inUnderlay = NetlinkSocket.open(NETLINK_ROUTE, { netns: netnsPath(netnsOf(lab, 'underlay')) });
  const { index } = await inUnderlay.get(linkGet(portOf(node)));
  await inUnderlay.execute(linkSet(index, { up }));
}

function bridgeOf(subnet: number): string {
  return `subnet${subnet}`;
}

function portOf(node: LabNode): string {
  return `port${node.index}`;
}

type Leg = { readonly port: string; readonly bridge: string; readonly dev: string; readonly seed: string };

async function addLeg(
  underlay: NetlinkSocket,
  netns: string,
  { port, bridge, dev, seed }: Leg,
): Promise<void> {
  const master = (await underlay.get(linkGet(bridge))).index;
  const target = openNetns(netns);
  try {
    const peer = { name: dev, mac: macFromSeed(seed), netns: target };
    await underlay.execute(
      linkAdd({
        name: port,
        mac: macFromSeed(`${seed} port`),
        master,
        up: true,
        data: { kind: 'veth', peer },
      }),
    );
  } finally {
    closeSync(target);
  }
}

async function configure(
  socket: NetlinkSocket,
  dev: string,
  addresses: readonly Prefixed[],
): Promise<Request[]> {
  const index = dev === 'lo' ? LOOPBACK : (await socket.get(linkGet(dev))).index;
  const families = kernelFamilies();
  return [
    ...linkSet(index, { up: true }),
    ...addresses
      .filter((address) => families.includes(familyOf(address)))
      .map((address) =>
        addressReplace({ dev: index, address, flags: familyOf(address) === 6 ? IFA_F_NODAD : 0 }),
      ),
  ];
}
