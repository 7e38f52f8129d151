import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isAt, type PlanFacts, planRoutes, type SeenRoute } from '../../../src/companions/cloud/plan.ts';
import { type Cidr, lengthOf, parseCidr } from '../../../src/ip/cidr.ts';

const SUBNETS = [...[1, 2, 3, 4].map((n) => `10.244.${n}.0/24`), '10.244.64.0/20'].map(parseCidr);
const isLawful = (cidr: Cidr): boolean => lengthOf(cidr) === 24;
const TABLES = ['rtb-1', 'rtb-2'];
/** node2's address, that of a node that is gone, and a stranger's. */
const ADDRESSES = ['192.0.2.2', '192.0.2.9', '192.0.2.200'];

const routes = fc.uniqueArray(
  fc.record({
    table: fc.constantFrom(...TABLES),
    destination: fc.constantFrom(...SUBNETS),
    // Google has several for one destination.
    name: fc.constantFrom('a', 'b', 'c'),
    target: fc.constant('eni'),
    leads: fc.constantFrom('here', 'elsewhere', 'nowhere'),
    addresses: fc.subarray(ADDRESSES),
  }),
  { selector: ({ table, destination, name }) => `${table} ${destination} ${name}` },
) as fc.Arbitrary<SeenRoute[]>;

const facts: fc.Arbitrary<PlanFacts> = fc.record({
  tables: fc.subarray(TABLES, { minLength: 1 }),
  routes,
  own: fc.constant(SUBNETS.slice(0, 1)),
  made: fc.subarray(TABLES.flatMap((table) => SUBNETS.map((destination) => ({ table, destination })))),
  nodes: fc.constant(new Set(ADDRESSES.slice(0, 1))),
  held: fc.constant(new Set(SUBNETS.slice(1, 2))),
  isLawful: fc.constant(isLawful),
  departed: fc.constantFrom(new Map(), new Map([[SUBNETS[2], ADDRESSES.slice(1, 2)]])),
});

test('a stranger’s route is neither replaced nor removed, nor that of a node that is there', () => {
  fc.assert(
    fc.property(facts, (given) => {
      const { replace, remove } = planRoutes(given);
      for (const route of [...replace, ...remove] as SeenRoute[]) {
        const isMade = (each: SeenRoute): boolean => given.made.some((place) => isAt(place, each));
        if (route.leads === 'here') assert.ok(isMade(route));
        if (route.leads === 'nowhere') assert.ok(isLawful(route.destination) || isMade(route));
        if (route.leads !== 'elsewhere') continue;
        const known = [...given.nodes, ...(given.departed.get(route.destination) ?? [])];
        assert.ok(route.addresses?.some((address) => known.includes(address)));
      }
      for (const { destination, leads } of remove)
        assert.ok(leads === 'here' || !given.held.has(destination));
    }),
  );
});

test('afterwards, every table leads to the node’s subnet, or names what is in the way', () => {
  fc.assert(
    fc.property(facts, (given) => {
      const { add, replace, remove, places, conflicts } = planRoutes(given);
      for (const table of given.tables) {
        for (const destination of given.own) {
          const place = { table, destination };
          const at = (list: readonly SeenRoute[]) => list.filter((route) => isAt(place, route));
          const here = at(given.routes).filter(({ leads }) => leads === 'here');
          const made = [...here, ...at(replace), ...add.filter((each) => isAt(place, each))];
          if (!places.some((each) => isAt(place, each))) {
            assert.ok(at(conflicts).length > 0 && made.length === 0);
            continue;
          }
          assert.equal(made.length, Math.max(here.length, 1));
          const accounted = [...here, ...at(replace), ...at(remove), ...at(conflicts)];
          assert.deepEqual(new Set(accounted), new Set(at(given.routes)));
          assert.equal(accounted.length, at(given.routes).length);
        }
      }
    }),
  );
});

test('the route of a node that is gone goes, and one from a possible subnet to no instance, but not a held one’s', () => {
  const at = (n: number, route: Partial<SeenRoute>): SeenRoute =>
    ({
      table: 'rtb-1',
      destination: SUBNETS[n - 1] ?? SUBNETS[0],
      target: 'eni',
      leads: 'elsewhere',
      ...route,
    }) as SeenRoute;
  const gone = at(3, { addresses: ['192.0.2.9'] });
  const dead = at(4, { leads: 'nowhere' });
  const broken = at(2, { leads: 'nowhere' });
  const foreign = at(5, { leads: 'nowhere' });
  const { remove } = planRoutes({
    tables: ['rtb-1'],
    routes: [gone, dead, broken, foreign],
    isLawful,
    own: SUBNETS.slice(0, 1),
    made: [],
    nodes: new Set(['192.0.2.2']),
    held: new Set(SUBNETS.slice(1, 2)),
    departed: new Map([[gone.destination, ['192.0.2.9']]]),
  });
  assert.deepEqual(remove, [gone, dead]);
});
