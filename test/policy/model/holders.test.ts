import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseIp } from '../../../src/ip/address.ts';
import { podEntity } from '../../../src/policy/kubernetes/pod.ts';
import type { PodEntity } from '../../../src/policy/model/entity.ts';
import { Holders } from '../../../src/policy/model/holders.ts';

const IPS = ['10.0.0.1', '10.0.0.2', 'fd00::1'];
const TIMES = ['2026-11-30T11:59:59Z', '2026-11-30T12:00:00Z', '2026-11-30T12:00:01Z'];

const pods: fc.Arbitrary<readonly PodEntity[]> = fc
  .array(
    fc.record({
      podIPs: fc.subarray(IPS),
      startTime: fc.constantFrom(undefined, ...TIMES),
      deletionTimestamp: fc.constantFrom(undefined, undefined, TIMES[0]),
    }),
    { maxLength: 6 },
  )
  .map((all) =>
    all.flatMap(({ podIPs, startTime, deletionTimestamp }, i) => {
      const metadata = { name: `p${i}`, namespace: 'default', uid: `u${i}`, creationTimestamp: TIMES[0] };
      const object = {
        metadata: { ...metadata, deletionTimestamp },
        spec: {},
        status: { podIPs: podIPs.map((ip) => ({ ip })), startTime },
      };
      return podEntity(object, { ofNamespace: () => ({}), ofServiceAccount: () => ({}) }) ?? [];
    }),
  );

test('an address is of one pod: one that is not being deleted, and of these the last, in whatever order', () => {
  const world = pods.chain((all) =>
    fc.record({
      all: fc.constant(all),
      shuffled: fc.shuffledSubarray([...all], { minLength: all.length }),
      certain: fc
        .dictionary(fc.constantFrom(...IPS), fc.option(fc.constantFrom(...all.keys(), 99), { nil: 99 }), {
          maxKeys: 2,
        })
        .map((of) => new Map(Object.entries(of).map(([ip, i]) => [parseIp(ip), all[i ?? 99]] as const))),
    }),
  );
  fc.assert(
    fc.property(world, ({ all, shuffled, certain }) => {
      const holders = new Holders();
      const settled = holders.settle(all, certain);
      for (const ip of IPS.map(parseIp)) {
        const found = settled.filter(({ addresses }) => addresses.includes(ip)).map(({ uid }) => uid);
        const claim = all
          .filter(({ addresses }) => addresses.includes(ip))
          .toSorted((a, b) => rank(a) - rank(b) || (a.uid ?? '').localeCompare(b.uid ?? ''))
          .at(-1);
        const expected = certain.has(ip) ? certain.get(ip) : claim;
        const isClaimed = expected?.addresses.includes(ip);
        assert.deepEqual(found, isClaimed ? [expected?.uid] : [], ip);
      }
      settled.forEach((pod, i) => {
        if (pod.addresses.length === all[i]?.addresses.length) assert.equal(pod, all[i], 'the same object');
      });
      const again = holders.settle(shuffled, certain);
      for (const pod of again) assert.ok(settled.includes(pod), 'whatever the order, the same objects');
    }),
    { numRuns: 1000 },
  );
});

function rank({ since = '', isEnding }: PodEntity): number {
  return (isEnding ? 0 : 10) + TIMES.indexOf(since);
}
