import type { PerFamily } from '../../cluster/node.ts';
import { FlatnetError } from '../../error.ts';
import { FAMILIES, type Family, familyOf, type Ip, isIp, parseIp } from '../../ip/address.ts';
import { addressOf } from '../../ip/cidr.ts';
import { addressDump } from '../../linux/address.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../linux/netlink/socket.ts';
import { netnsPath } from '../../linux/netns.ts';
import { kernelFamilies } from '../machine/underlay.ts';
import { nodeAddresses } from '../machine/underlay-plan.ts';
import { netnsOfPod, type PodRecord, readPod, readPods } from '../pods/record.ts';
import type { Lab } from '../record/lab.ts';
import { netnsOf, splitPodName } from '../record/names.ts';
import type { LabNode } from '../record/topology.ts';

/** Something that sends and answers packets. */
export type Endpoint = {
  readonly kind: 'pod' | 'node' | 'address';
  /** As a user writes it: `web`, `team-a/web`, `node1`. */
  readonly name: string;
  /** The addresses under which it is reached. */
  readonly addresses: PerFamily<Ip>;
  /** Path of its network namespace; absent for a bare address. */
  readonly netns?: string;
};

export function podEndpoint(lab: Lab, pod: PodRecord): Endpoint {
  return {
    kind: 'pod',
    name: pod.namespace === 'default' ? pod.name : `${pod.namespace}/${pod.name}`,
    addresses: perFamily(pod.addresses),
    netns: netnsOfPod(lab, pod),
  };
}

export function nodeEndpoint(lab: Lab, node: LabNode): Endpoint {
  const addresses = nodeAddresses(node.index, node.subnet);
  return {
    kind: 'node',
    name: node.name,
    addresses: perFamily(kernelFamilies().map((family) => addressOf(addresses[family]))),
    netns: netnsPath(netnsOf(lab.name, node.name)),
  };
}

/** Finds a node, a pod, `NAMESPACE/POD` or an IP address, in this order. Throws NOT_FOUND. */
export function findEndpoint(lab: Lab, text: string): Endpoint {
  const node = lab.nodes.find((each) => each.name === text);
  if (node) return nodeEndpoint(lab, node);
  const { namespace, name } = splitPodName(text);
  const pod = readPod(lab, namespace, name);
  if (pod) return podEndpoint(lab, pod);
  if (isIp(text)) return { kind: 'address', name: text, addresses: perFamily([parseIp(text)]) };
  throw unknown(lab, `'${text}' is not a pod, a node or an address`);
}

/** Returns a NOT_FOUND error that lists the existing names. */
export function unknown(lab: Lab, text: string): FlatnetError {
  const names = [
    ...readPods(lab).map((each) => podEndpoint(lab, each).name),
    ...lab.nodes.map((n) => n.name),
  ];
  return new FlatnetError(text, {
    code: 'NOT_FOUND',
    object: `lab ${lab.name}`,
    fix: `use one of ${names.slice(0, 12).join(', ')}${names.length > 12 ? ', …' : ''}`,
  });
}

/** Every address the endpoint may send from. */
export async function ownAddresses(endpoint: Endpoint): Promise<Set<Ip>> {
  if (endpoint.kind !== 'node' || endpoint.netns === undefined) {
    return new Set(Object.values(endpoint.addresses));
  }
  using socket = NetlinkSocket.open(NETLINK_ROUTE, { netns: endpoint.netns });
  return new Set((await socket.dump(addressDump())).map(({ address }) => addressOf(address)));
}

/** The families that both ends have. */
export function commonFamilies(a: Endpoint, b: Endpoint): Family[] {
  return FAMILIES.filter((family) => a.addresses[family] && b.addresses[family]);
}

function perFamily(addresses: readonly Ip[]): PerFamily<Ip> {
  return Object.fromEntries(addresses.map((ip) => [familyOf(ip), ip]));
}
