import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Ip, parseIp } from '../../../src/ip/address.ts';
import { Excess } from '../../../src/policy/compile/excess.ts';
import type { PolicyFacts } from '../../../src/policy/compile/facts.ts';
import { type CompiledStaged, StagedCompiler } from '../../../src/policy/compile/staged/compile.ts';
import { evaluate } from '../../../src/policy/model/evaluate.ts';
import { knownAs } from '../../../src/policy/model/matcher.ts';
import { DIRECTIONS, type Direction, type Staged } from '../../../src/policy/model/policy.ts';
import { enforced } from '../../../src/policy/model/staged.ts';
import type { Flow } from '../../../src/policy/model/traffic.ts';
import { ADDRESSES, facts, flow } from '../arbitrary.ts';
import { walker } from '../compiled.ts';

const plan = fc.option(
  fc.record({
    action: fc.constantFrom<Staged['action']>('set', 'set', 'delete', 'ignore'),
    replaces: fc.nat(8).map((i) => ({ kind: 'Test', name: `p${i}` })),
  }),
);

/** Some of the policies are staged, and take the place of others, or remove them. */
const stagedFacts = (family: 4 | 6): fc.Arbitrary<PolicyFacts> =>
  fc.tuple(facts(family), fc.array(plan, { minLength: 9, maxLength: 9 })).map(([all, plans]) => {
    let count = 0;
    const tiers = all.tiers.map((tier) => ({
      ...tier,
      policies: tier.policies.map((policy) => {
        const i = count++;
        const staged = plans[i];
        const kind = staged ? 'Staged' : 'Test';
        return { ...policy, kind, name: `p${i}`, ...(staged && { staged }) };
      }),
    }));
    return { ...all, tiers };
  });

/** What would become of a connection in one direction; undefined: the same as now. */
function expected(all: PolicyFacts, direction: Direction, source: Ip, destination: Ip, what: Flow) {
  const [own, peer] = direction === 'egress' ? [source, destination] : [destination, source];
  const subject = all.subjects.find(({ pod }) => pod.addresses.includes(own));
  if (!subject) return undefined;
  const known = (ip: Ip) => knownAs(ip, all.entities, all.names.get(ip));
  const connection = { pod: subject.pod, own: known(own), peer: known(peer), flow: what };
  const [now, then] = [all.tiers, enforced(all.tiers)].map(
    (tiers) => evaluate(tiers, direction, connection).verdict,
  );
  return now === then ? undefined : then;
}

/** What the element says by which the kernel counts a packet. */
function counted(compiled: CompiledStaged | undefined, source: Ip, destination: Ip, what: Flow) {
  const found = new Map<Direction, string | undefined>();
  if (!compiled) return found;
  const { tables, directory } = compiled;
  const differing = [...compiled.pods.values()].flat();
  const pods = new Map([[undefined, { items: differing.map(({ item }) => item) }]]);
  const { verdict } = walker({ tables, directory, pods })(
    { source, destination, flow: what },
    'forward',
    (item) => {
      const difference = differing.find((each) => each.item === item)?.difference;
      if (!difference) return;
      const direction = item.set.startsWith('ingress') ? 'ingress' : 'egress';
      assert.ok(!found.has(direction), 'one element counts');
      if (difference.would !== undefined) {
        assert.ok(difference.by.length > 0);
        assert.ok(difference.by.every(({ staged }) => staged));
      }
      found.set(direction, difference.would);
    },
  );
  assert.equal(verdict, 'accept', 'nothing is decided');
  return found;
}

for (const family of [4, 6] as const) {
  const address = fc.constantFrom(...ADDRESSES[family].map(parseIp));
  test(`IPv${family}: exactly what staged policies would decide otherwise is counted for them`, () => {
    const packets = fc.array(fc.tuple(address, address, flow(family)), { minLength: 1, maxLength: 30 });
    let differences = 0;
    fc.assert(
      fc.property(stagedFacts(family), packets, (all, each) => {
        const compiled = new StagedCompiler().compile(all);
        assert.ok(!(compiled instanceof Excess));
        for (const [source, destination, what] of each) {
          if (source === destination) continue;
          const found = counted(compiled, source, destination, what);
          for (const direction of DIRECTIONS) {
            const would = expected(all, direction, source, destination, what);
            if (would) differences++;
            assert.equal(
              found.get(direction),
              would,
              `${direction} ${source} to ${destination}: ${JSON.stringify(what)}`,
            );
          }
        }
      }),
      { numRuns: 500 },
    );
    // Hundreds, as a rule.
    assert.ok(differences > 20, `${differences}`);
  });
}

test('without staged policies, or where they change nothing, there is nothing', () => {
  fc.assert(
    fc.property(facts(4), (all) => {
      assert.equal(new StagedCompiler().compile(all), undefined);
      const idle = all.tiers.map((tier) => ({
        ...tier,
        policies: tier.policies.flatMap((policy) => [
          policy,
          { ...policy, kind: 'Staged', staged: { action: 'ignore' as const, replaces: policy } },
        ]),
      }));
      assert.equal(new StagedCompiler().compile({ ...all, tiers: idle }), undefined);
    }),
    { numRuns: 50 },
  );
});
