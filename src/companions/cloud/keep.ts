import { isDeepStrictEqual } from 'node:util';
import type { Cidr } from '../../ip/cidr.ts';
import { compatible } from '../../ipam/subnets.ts';
import type { Log } from '../../log.ts';
import { excerpt, type Problem } from '../../problem.ts';
import type { SettledFacts } from '../companion.ts';
import type { Cloud, CloudRoute, Origin } from './cloud.ts';
import { addressesOf, type Knowledge, placeOf } from './knowledge.ts';
import { type CloudPlan, isAt, isInQuestion, planRoutes, type SeenRoute } from './plan.ts';

/** The facts that a node's routes follow from. */
export type Situation = Pick<SettledFacts, 'network' | 'nodes' | 'self' | 'isComplete'>;

/** One look at the cloud's routes. */
type Look = {
  readonly situation: Situation;
  readonly origin: Origin;
  /** This node's subnets. */
  readonly own: readonly Cidr[];
  readonly knowledge: Knowledge;
  /** The newest facts, which the look may be overtaken by. */
  readonly newest: () => Situation;
  /** Called before each change of a route: it may take effect though its answer does not arrive. */
  readonly changing: () => void;
  /** False: another node may have the subnets by now. Throws if this look is superseded. */
  readonly mayGoOn: () => boolean;
  readonly log: Log;
};

/** How the routes are left. */
export type Kept = {
  /** This node's subnets whose routes lead here. */
  readonly confirmed: readonly Cidr[];
  /** Why pods' packets are lost nevertheless. */
  readonly problems: readonly Problem[];
};

/**
 * Looks at the cloud's routes and changes them where this node has to. Undefined if the node must not go on.
 * Throws what the cloud does.
 */
export async function keepRoutes(cloud: Cloud, look: Look): Promise<Kept | undefined> {
  const { own, knowledge, newest, log } = look;
  const { network, self } = look.situation;
  const inspection = await cloud.inspect();
  const { made } = knowledge;
  const within = Object.values(network.pools).map(({ cidr }) => cidr);
  const tables = [...new Set([...inspection.tables, ...made.map(({ table }) => table)])];
  // A later view may have other nodes, but none that is missing from it is gone.
  const { nodes, isComplete } = newest();
  const peers = nodes.filter(({ name }) => name !== self.node.name);
  const departed = new Map(isComplete ? knowledge.departed : []);
  const see: See = (of, inside) => routesIn(cloud, of, inside, { own, departed });
  const routes = await see(tables, within);
  const plan = planRoutes({
    tables: inspection.tables,
    routes,
    own,
    made,
    nodes: new Set(peers.flatMap(addressesOf)),
    held: new Set(peers.flatMap(({ subnets }) => subnets)),
    departed,
    isLawful: (destination) => Object.values(network.pools).some((pool) => compatible(pool, destination)),
  });
  const remove = plan.remove.filter((route) => isStillUnwanted(route, own, newest()));
  knowledge.willMake([...plan.add, ...plan.replace], look.origin);
  if (!(await carryOut({ ...plan, remove }, cloud, see, look))) return undefined;
  // Not before their routes are seen to be gone.
  if (remove.length === 0) knowledge.forget(departed.keys());
  const { places, conflicts } = plan;
  const others = conflicts.filter((route) => !places.some((place) => isAt(place, route)));
  const confirmed = own.filter((subnet) => !others.some(({ destination }) => destination === subnet));
  knowledge.confirm(places, confirmed);
  log.debug({ routes: routes.length }, 'the cloud’s routes have been looked at');
  return {
    confirmed,
    problems: [...inspection.problems, ...conflicts.map((route) => conflictOf(route, cloud))],
  };
}

type See = (tables: readonly string[], within: readonly Cidr[]) => Promise<readonly SeenRoute[]>;

/** False if the node must not go on. */
async function carryOut(
  { add, replace, remove }: Pick<CloudPlan, 'add' | 'replace' | 'remove'>,
  cloud: Cloud,
  see: See,
  { own, newest, mayGoOn, changing, log }: Look,
): Promise<boolean> {
  for (const { table, destination } of add) {
    if (!mayGoOn()) return false;
    changing();
    await cloud.add(table, destination);
    log.info({ table, destination }, 'route added in the cloud');
  }
  const removeAll = async (list: readonly CloudRoute[]): Promise<void> => {
    for (const route of list) {
      const seen = await see([route.table], [route.destination]);
      const isSame = seen.some((each) => isDeepStrictEqual(each, route));
      if (!mayGoOn() || !isSame || !isStillUnwanted(route, own, newest())) continue;
      changing();
      await cloud.remove(route);
      log.info({ ...placeOf(route), target: route.target }, 'route removed from the cloud');
    }
  };
  // First those in the way: they may have the name of the one that is made instead.
  const isInTheWay = ({ destination }: CloudRoute): boolean => own.includes(destination);
  await removeAll(remove.filter(isInTheWay));
  for (const route of replace) {
    if (!mayGoOn()) return false;
    changing();
    await cloud.replace(route);
    log.info({ ...placeOf(route), instead: route.target }, 'route replaced in the cloud');
  }
  await removeAll(remove.filter((route) => !isInTheWay(route)));
  return mayGoOn();
}

/** By the newest facts: since the plan was made, another node may have got the subnet. */
function isStillUnwanted(
  { destination, leads }: CloudRoute,
  own: readonly Cidr[],
  { nodes, self, isComplete }: Situation,
): boolean {
  if (leads === 'here' || own.includes(destination)) return true;
  return (
    isComplete === true &&
    !nodes.some(({ name, subnets }) => name !== self.node.name && subnets.includes(destination))
  );
}

/** The routes of these tables inside these networks, with what must be known of them. */
async function routesIn(
  cloud: Cloud,
  tables: readonly string[],
  within: readonly Cidr[],
  about: Parameters<typeof isInQuestion>[1],
): Promise<readonly SeenRoute[]> {
  const routes = await cloud.routes(tables, within);
  return Promise.all(
    routes.map(async (route) => {
      if (!isInQuestion(route, about)) return route;
      const addresses = await cloud.addressesAt(route);
      return addresses ? { ...route, addresses } : { ...route, leads: 'nowhere' as const };
    }),
  );
}

function conflictOf(route: CloudRoute, cloud: Cloud): Problem {
  const { table, destination, target } = route;
  return {
    id: 'cloud-route-conflict',
    severity: 'error',
    what: `${table} sends ${destination}, this node’s subnet, to ${excerpt(target, 100)}`,
    cause: 'that is no node of this cluster, so the route is left alone',
    fix: `remove it if nobody needs it: ${cloud.removal(route)}`,
  };
}
