import type { Node } from '../../../cluster/node.ts';
import { familyOf } from '../../../ip/address.ts';
import { type Cidr, contains } from '../../../ip/cidr.ts';
import { protocolName, RTPROT_KERNEL } from '../../../linux/route-protocol.ts';
import type { Problem } from '../../../problem.ts';
import type { ForeignRoute, MainTable } from './main-table.ts';

/** The metric of BIRD's routes. */
const METRIC = 32;

/** A route of somebody else's that keeps packets from the path that BIRD chose. */
export type Obstacle = {
  readonly dst: Cidr;
  /** The node whose pods are out of reach. */
  readonly owner: string;
  /** The route, as `ip route` writes it. */
  readonly text: string;
  readonly fix: string;
};

/**
 * Returns the routes of others that the kernel prefers to BIRD's, or holds in the place of BIRD's, for
 * addresses of another node's pods.
 */
export function obstaclesOf({ routes }: MainTable, others: readonly Node[]): Obstacle[] {
  return routes.flatMap((route): Obstacle[] => {
    const owner = others.find(({ subnets }) => subnets.some((subnet) => replaces(route, subnet)));
    if (!owner) return [];
    const { dst, protocol, hops } = route;
    const text = routeText(route);
    const ip = familyOf(dst) === 6 ? 'ip -6' : 'ip';
    const fix =
      protocol === RTPROT_KERNEL
        ? `remove the address from ${hops[0]?.dev}, or give the pods another pool`
        : `${ip} route del ${text}`;
    return [{ dst, owner: owner.name, text, fix }];
  });
}

export function obstacleProblem({ dst, owner, text, fix }: Obstacle): Problem {
  return {
    id: 'route-in-the-way',
    severity: 'error',
    what: `pods of ${owner} in ${dst} are out of reach`,
    cause: `another program or person has put the route '${text}' before BIRD's`,
    fix,
  };
}

function replaces({ dst, metric }: ForeignRoute, subnet: Cidr): boolean {
  if (dst === subnet) return metric <= METRIC;
  return contains(subnet, dst);
}

/** As `ip route` writes it and takes it. */
function routeText({ dst, type, protocol, metric, hops }: ForeignRoute): string {
  const ways = hops.map(({ via, dev, onlink }) =>
    [via && `via ${via}`, `dev ${dev}`, onlink && 'onlink'].filter(Boolean).join(' '),
  );
  const path = ways.length > 1 ? ways.map((way) => `nexthop ${way}`).join(' ') : (ways[0] ?? '');
  return [
    type === 'unicast' ? '' : type,
    dst,
    type === 'unicast' ? path : '',
    `proto ${protocolName(protocol)}`,
    `metric ${metric}`,
  ]
    .filter(Boolean)
    .join(' ');
}
