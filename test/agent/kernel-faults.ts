import { setTimeout as sleep } from 'node:timers/promises';
import type { Family } from '../../src/ip/address.ts';
import { setCable } from '../../src/lab/machine/underlay.ts';
import type { Item } from '../../src/state/item.ts';
import type { AddressItem } from '../../src/state/kinds/address.ts';
import type { FdbItem } from '../../src/state/kinds/fdb.ts';
import type { NeighbourItem } from '../../src/state/kinds/neighbour.ts';
import type { RouteItem } from '../../src/state/kinds/route.ts';
import { command } from '../../src/state/print.ts';
import { type Cluster, plug, type TestNode } from './cluster.ts';
import type { Random } from './random.ts';

/** Injects a fault into one node's kernel; undefined where there is nothing to break. */
export type Fault = (
  cluster: Cluster,
  node: TestNode,
  random: Random,
) => (() => void | Promise<void>) | undefined;

/** All kinds of faults, by name. */
export const KERNEL_FAULTS: Readonly<Record<string, Fault>> = {
  'route deleted': deleting('route'),
  'neighbour deleted': deleting('neighbour'),
  'FDB entry deleted': deleting('fdb'),
  'address deleted': deleting('address'),
  'route to nowhere': replacing((item) =>
    item.kind === 'route' ? `ip route replace blackhole ${item.dst}` : undefined,
  ),
  'neighbour with another MAC': replacing((item) =>
    item.kind === 'neighbour'
      ? `ip neigh replace ${item.ip} lladdr 02:00:00:00:be:ef nud permanent dev ${item.dev}`
      : undefined,
  ),
  'FDB entry to another node': replacing((item) =>
    item.kind === 'fdb'
      ? `bridge fdb replace ${item.mac} dst ${unusedAddress(item.dst)} self permanent dev ${item.dev}`
      : undefined,
  ),
  'tunnel deleted': onTunnel((dev) => `ip link del ${dev}`),
  'tunnel down': onTunnel((dev) => `ip link set ${dev} down`),
  'tunnel down and up': onTunnel((dev) => `ip link set ${dev} down; ip link set ${dev} up`),
  'tunnel MTU': onTunnel((dev) => `ip link set ${dev} mtu 1300`),
  'tunnel MAC': onTunnel((dev) => `ip link set ${dev} address 02:00:00:00:be:ef`),
  'tunnel emptied': onTunnel((dev) => `bridge fdb flush dev ${dev}; ip neigh flush dev ${dev} nud permanent`),
  'bridge deleted': script(() => 'ip link del cni0'),
  'bridge down': script(() => 'ip link set cni0 down'),
  'bridge MTU': script(() => 'ip link set cni0 mtu 1300'),
  'pod off the bridge': onPod((dev) => `ip link set ${dev} nomaster`),
  'pod veth down': onPod((dev) => `ip link set ${dev} down`),
  'pod veth renamed': onPod((dev) => `ip link set ${dev} down; ip link set ${dev} name strange up`),
  'hairpin off': onPod((dev) => `ip link set ${dev} type bridge_slave hairpin off`),
  'learning off': onPod((dev) => `ip link set ${dev} type bridge_slave learning off`),
  'port isolated': onPod((dev) => `ip link set ${dev} type bridge_slave isolated on`),
  'port locked': onPod((dev) => `ip link set ${dev} type bridge_slave locked on`),
  'port blocking': onPod((dev) => `ip link set ${dev} type bridge_slave state 4`),
  'bridge with a spanning tree': script(() => 'ip link set cni0 type bridge stp_state 1'),
  'nft table flushed': script((c) => `nft flush table ${nftFamily(c)} flatnet-masquerade`),
  'nft table deleted': script((c) => `nft delete table ${nftFamily(c)} flatnet-masquerade`),
  'nft rule added': script((c) => `nft add rule ${nftFamily(c)} flatnet-masquerade postrouting accept`),
  'stray route': script(() => 'ip route add 10.99.0.0/24 dev eth0 proto 110'),
  'stray address': script(() => 'ip address add 10.98.0.1/24 dev cni0'),
  'stray neighbour': onTunnel(
    (dev) => `ip neigh add 10.97.0.0 lladdr 02:00:00:00:be:ef nud permanent dev ${dev}`,
  ),
  'stray FDB entry': onTunnel(
    (dev) => `bridge fdb add 02:00:00:00:be:ef dst ${unusedAddress(dev)} dev ${dev}`,
  ),
  'underlay down and up': flapping((cluster, node) => ({
    down: () => cluster.ip(node, 'link set eth0 down'),
    up: () => cluster.ip(node, 'link set eth0 up'),
  })),
  'cable out and in': flapping((cluster, node) => {
    return {
      down: () => setCable(cluster.lab.name, plug(node), false),
      up: () => setCable(cluster.lab.name, plug(node), true),
    };
  }),
};

/** The tunnel devices of a cluster; none for host-gw. */
export function tunnels(cluster: Cluster): { dev: string; family: Family }[] {
  if (cluster.network.backend.type !== 'vxlan') return [];
  return cluster.families.map((family) => ({ dev: family === 4 ? 'flannel.1' : 'flannel-v6.1', family }));
}

/** An underlay address that no node has, of the family of an address or a tunnel. */
function unusedAddress(like: string): string {
  return like.includes(':') || like.includes('-v6') ? 'fd77::dead' : '172.30.0.222';
}

function nftFamily({ families }: Cluster): string {
  return families.includes(4) ? 'ip' : 'ip6';
}

function script(text: (cluster: Cluster, node: TestNode, random: Random) => string | undefined): Fault {
  return (cluster, node, random) => {
    const commands = text(cluster, node, random);
    return commands === undefined ? undefined : () => void cluster.run(node, 'sh', '-ec', commands);
  };
}

function onTunnel(text: (dev: string) => string): Fault {
  return script((cluster, _node, random) => {
    const devices = tunnels(cluster);
    return devices.length === 0 ? undefined : text(random.pick(devices).dev);
  });
}

function onPod(text: (dev: string) => string): Fault {
  return script((_cluster, { pods }, random) =>
    pods.length === 0 ? undefined : text(random.pick(pods).hostDevice),
  );
}

function deleting(kind: Item['kind']): Fault {
  return replacing((item) => (item.kind === kind ? command(item, 'delete') : undefined));
}

type Entry = RouteItem | NeighbourItem | FdbItem | AddressItem;

/** Breaks a randomly chosen entry that the node should have. */
function replacing(text: (item: Entry) => string | undefined): Fault {
  return script((cluster, node, random) => {
    const commands = cluster
      .desired(node)
      .items.filter((item): item is Entry => ['route', 'neighbour', 'fdb', 'address'].includes(item.kind))
      .map(text)
      .filter((each) => each !== undefined);
    return commands.length === 0 ? undefined : random.pick(commands);
  });
}

type Switch = { down: () => unknown; up: () => unknown };

function flapping(make: (cluster: Cluster, node: TestNode) => Switch): Fault {
  return (cluster, node, random) => {
    const { down, up } = make(cluster, node);
    const pause = random.pick([0, 5, 30, 200]);
    return async () => {
      await down();
      await sleep(pause);
      await up();
    };
  };
}
