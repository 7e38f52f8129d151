import { isDeepStrictEqual } from 'node:util';
import { contains } from '../../../ip/cidr.ts';
import type { Problem } from '../../../problem.ts';
import type { BgpFacts, Gateway } from '../configuration/facts.ts';
import type { BgpRoute } from '../status/routes.ts';
import { gatewaysOf } from './gateways.ts';
import type { MainTable } from './main-table.ts';
import { type Obstacle, obstacleProblem, obstaclesOf } from './obstacles.ts';

/** Lines of the status about next hops that BIRD cannot reach; one cause may concern every block. */
const MAX_LINES = 5;

/** What lies between BIRD's routes and the packets that should take them. */
export class Paths {
  #table: MainTable;
  #gateways: readonly Gateway[];
  #unreachable: readonly BgpRoute[] = [];

  constructor(table: MainTable) {
    this.#table = table;
    this.#gateways = gatewaysOf(table);
  }

  get gateways(): readonly Gateway[] {
    return this.#gateways;
  }

  /** Returns whether the gateways have changed. */
  setTable(table: MainTable): boolean {
    this.#table = table;
    const gateways = gatewaysOf(table);
    if (isDeepStrictEqual(gateways, this.#gateways)) return false;
    this.#gateways = gateways;
    return true;
  }

  setUnreachable(routes: readonly BgpRoute[]): void {
    this.#unreachable = routes;
  }

  obstacles({ self, nodes }: Pick<BgpFacts, 'self' | 'nodes'>): Obstacle[] {
    return obstaclesOf(
      this.#table,
      nodes.filter(({ name }) => name !== self.node.name),
    );
  }

  problems(facts: Pick<BgpFacts, 'self' | 'nodes' | 'pools'>): Problem[] {
    const lost = this.#unreachable.filter(({ net }) => facts.pools.some(({ cidr }) => contains(cidr, net)));
    const lines = lost.slice(0, MAX_LINES).map((route): Problem => {
      const owner = facts.nodes.find(({ subnets }) => subnets.includes(route.net));
      const hop = route.attributes['BGP.next_hop'] ?? 'its next hop';
      return {
        id: 'block-unreachable',
        severity: 'error',
        what: `${route.net}${owner ? ` of ${owner.name}` : ''} is unreachable`,
        cause: `this host has no route to ${hop}, its next hop`,
        fix: `add one, such as: ip route add ${hop} via GATEWAY`,
      };
    });
    const more = lost.length - lines.length;
    if (more > 0)
      lines.push({ id: 'block-unreachable', severity: 'error', what: `${more} more blocks are unreachable` });
    return [...this.obstacles(facts).map(obstacleProblem), ...lines];
  }
}
