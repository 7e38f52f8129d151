import { type Network, readNetwork } from '../../src/cluster/network.ts';
import type { Node, Self } from '../../src/cluster/node.ts';
import { parseIp } from '../../src/ip/address.ts';
import { parseCidr } from '../../src/ip/cidr.ts';
import { macFromSeed } from '../../src/ip/mac.ts';

// A cluster of thousands of nodes, only one of which exists. All are on the network of its eth0, as host-gw
// requires.

export const UNDERLAY_ADDRESS = '172.20.0.1/16';

/** Room for 8192 nodes. */
const POD_NETWORK = '10.128.0.0/11';

export function netConf(backend: string): object {
  return { Network: POD_NETWORK, SubnetLen: 24, Backend: { Type: backend } };
}

export function network(backend: string): Network {
  return readNetwork(netConf(backend));
}

/** The node that exists. */
export function self(backend: string): Self {
  return {
    node: node(backend, 'self', 0),
    tunnelMacs: { 4: macFromSeed('self 4'), 6: macFromSeed('self 6') },
    underlay: {
      dev: 'eth0',
      mtu: 1500,
      addresses: { 4: parseIp('172.20.0.1') },
      onLink: [parseCidr('172.20.0.0/16')],
    },
  };
}

export function peers(backend: string, count: number): Node[] {
  return Array.from({ length: count }, (_, i) => peer(backend, i));
}

/** The i-th peer; another `generation` has another MAC, as after a reinstall. */
export function peer(backend: string, i: number, generation = 0): Node {
  return node(backend, `peer${i}.${generation}`, i + 256);
}

/** The i-th peer with another MAC and another address: a replacement machine. */
export function replaced(backend: string, i: number, generation: number): Node {
  const third = (generation % 2 === 0 ? 0 : 128) + ((i + 256) >> 8);
  return { ...peer(backend, i, generation), addresses: { 4: parseIp(`172.20.${third}.${i & 255}`) } };
}

function node(backend: string, seed: string, place: number): Node {
  const [high, low] = [place >> 8, place & 255];
  const address = place === 0 ? '172.20.0.1' : `172.20.${high}.${low}`;
  return {
    name: address.replaceAll('.', '-'),
    labels: {},
    addresses: { 4: parseIp(address) },
    subnets: [parseCidr(`10.${128 + high}.${low}.0/24`)],
    backend: { type: backend, data: { 4: { VNI: 1, VtepMAC: macFromSeed(seed) } } },
  };
}
