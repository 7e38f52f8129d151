import type { Node, PerFamily } from '../../src/cluster/node.ts';
import type { Ip } from '../../src/ip/address.ts';
import { nthIp, parseCidr } from '../../src/ip/cidr.ts';
import { underlaySubnet } from '../../src/lab/machine/underlay-plan.ts';
import type { Cluster } from './cluster.ts';

/**
 * Creates flannel nodes, each with its own address, subnets and MACs, which never collide with a lab's nodes.
 */
export class Foreigners {
  readonly #cluster: Cluster;
  #count = 0;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  create(): Node {
    const { network, families } = this.#cluster;
    const place = 128 + (this.#count++ % 127);
    const hex = place.toString(16);
    const addresses: PerFamily<Ip> = Object.fromEntries(
      families.map((family) => [family, nthIp(underlaySubnet(0, family), 120 + (place - 128))]),
    );
    const data = Object.fromEntries(
      families.map((family) => [family, { VNI: 1, VtepMAC: `02:fe:00:00:0${family}:${hex}` }]),
    );
    const { type } = network.backend;
    return {
      name: addresses[4] ?? addresses[6] ?? '',
      labels: {},
      addresses,
      subnets: families.map((family) =>
        parseCidr(family === 4 ? `10.244.${place}.0/24` : `fd10:0:0:${hex}::/64`),
      ),
      backend: { type, data: type === 'vxlan' ? data : {} },
    };
  }
}
