import type { Cidr } from '../../ip/cidr.ts';
import type { CloudRoute } from './cloud.ts';

/** A route, with the addresses of what it leads to where that matters. */
export type SeenRoute = CloudRoute & { readonly addresses?: readonly string[] };

export type Place = { readonly table: string; readonly destination: Cidr };

export type PlanFacts = {
  readonly tables: readonly string[];
  readonly routes: readonly SeenRoute[];
  /** This node's subnets. */
  readonly own: readonly Cidr[];
  /** The routes that this node has made. */
  readonly made: readonly Place[];
  /** The addresses of the other nodes. */
  readonly nodes: ReadonlySet<string>;
  /** The subnets of all nodes, and those of nodes that are gone, with their addresses. */
  readonly held: ReadonlySet<Cidr>;
  readonly departed: ReadonlyMap<Cidr, readonly string[]>;
  /** Whether it may be a node's subnet. */
  readonly isLawful: (destination: Cidr) => boolean;
};

export type CloudPlan = {
  readonly add: readonly Place[];
  readonly replace: readonly CloudRoute[];
  readonly remove: readonly CloudRoute[];
  /** Where this node's subnets lead here afterwards. */
  readonly places: readonly Place[];
  /** Somebody else's, in the place of ours or beside it: left alone. */
  readonly conflicts: readonly CloudRoute[];
};

/** Whether what a route leads to has to be known, to decide what becomes of it. */
export function isInQuestion(
  { destination, leads }: CloudRoute,
  { own, departed }: Pick<PlanFacts, 'own' | 'departed'>,
): boolean {
  return leads === 'elsewhere' && (own.includes(destination) || departed.has(destination));
}

/**
 * What is to be done to the cloud's routes. Ours are those that this node has made, that lead to a node of
 * the cluster, one that is gone included, or from what may be a node's subnet to an instance that is no more;
 * no other is touched.
 */
export function planRoutes(facts: PlanFacts): CloudPlan {
  const { tables, routes, own, made, nodes, held, departed, isLawful } = facts;
  const add: Place[] = [];
  const replace: CloudRoute[] = [];
  const conflicts: CloudRoute[] = [];
  const superfluous: CloudRoute[] = [];
  const places: Place[] = [];
  for (const table of tables) {
    for (const destination of own) {
      const place = { table, destination };
      const known = new Set([...nodes, ...(departed.get(destination) ?? [])]);
      const there = routes.filter((route) => isAt(place, route));
      const isOurs = there.some(({ leads }) => leads === 'here');
      const foreign = there.filter((route) => route.leads === 'elsewhere' && !leadsTo(route, known));
      conflicts.push(...foreign);
      if (foreign.length > 0 && !isOurs) continue;
      places.push(place);
      const stale = there.filter((route) => route.leads !== 'here' && !foreign.includes(route));
      const instead = isOurs ? undefined : stale.shift();
      if (instead) replace.push(instead);
      else if (!isOurs) add.push(place);
      superfluous.push(...stale);
    }
  }
  const unwanted = routes.filter((route) => {
    const { table, destination, leads } = route;
    const isWanted = own.includes(destination) && tables.includes(table);
    if (leads === 'here') return !isWanted && made.some((place) => isAt(place, route));
    if (held.has(destination) || own.includes(destination)) return false;
    const isOurs =
      isLawful(destination) || departed.has(destination) || made.some((each) => isAt(each, route));
    if (leads === 'nowhere') return isOurs;
    return leadsTo(route, new Set(departed.get(destination)));
  });
  return { add, replace, remove: [...superfluous, ...unwanted], places, conflicts };
}

/** Whether two are the same table's routes to the same network. */
export function isAt(place: Place, { table, destination }: Place): boolean {
  return place.table === table && place.destination === destination;
}

function leadsTo({ addresses = [] }: SeenRoute, nodes: ReadonlySet<string>): boolean {
  return addresses.some((address) => nodes.has(address));
}
