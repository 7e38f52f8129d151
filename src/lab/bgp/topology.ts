import type { Network } from '../../cluster/network.ts';
import { tunnelTypes } from '../../desired/tunnel-types.ts';
import { FlatnetError } from '../../error.ts';
import type { BgpTopology } from '../record/topology.ts';

type Wanted = {
  readonly network: Network;
  /** Their number. */
  readonly nodes: number;
  readonly bgp?: BgpTopology;
};

/**
 * Warns of underlay subnets whose pods will not reach one another: without a tunnel, the router between the
 * subnets gets pods' own packets, and only top-of-rack routers know where these go.
 */
export function splitWarning({
  network,
  nodes,
  subnets,
  bgp = {},
}: Wanted & { subnets: number }): string | undefined {
  if (Math.min(nodes, subnets) < 2 || bgp.tor !== undefined || tunnelTypes(network).length > 0)
    return undefined;
  const { type } = network.backend;
  const fix =
    type === 'bgp'
      ? 'add --tor, or use --preset calico, which has tunnels'
      : 'use one subnet, or --backend vxlan, which has tunnels';
  return `pods of one underlay subnet will not reach those of another: ${type} without tunnels needs routers that know the pods’ networks; ${fix}`;
}

/** Throws USAGE for reflectors or routers that would have no effect or break the lab. */
export function checkTopology({ network, nodes, bgp = {} }: Wanted): void {
  const { reflectors = 0, tor } = bgp;
  const refuse = (object: string, text: string, fix: string): never => {
    throw new FlatnetError(text, { code: 'USAGE', object, fix });
  };
  if (reflectors === 0 && tor === undefined) return;
  const object = tor ? '--tor' : '--reflectors';
  if (network.backend.type !== 'bgp') {
    refuse(object, `needs BGP, but the backend is ${network.backend.type}`, 'add --preset calico-bgp');
  }
  if (reflectors > nodes) refuse(object, `${reflectors} of ${nodes} nodes`, 'choose fewer, or more --nodes');
  if (!tor) return;
  if (reflectors > 0) {
    refuse(object, 'gives each rack its own AS, but reflectors serve a single AS', 'drop --reflectors');
  }
  const [tunnel] = tunnelTypes(network);
  if (tunnel) {
    refuse(
      object,
      `adds routers for pods’ own packets, but ${tunnel.type.toUpperCase()} would hide these from them`,
      'use --preset calico-bgp',
    );
  }
}
