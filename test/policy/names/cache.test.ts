import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Ip, parseIp } from '../../../src/ip/address.ts';
import { isNamed } from '../../../src/policy/model/matcher.ts';
import { NameCache } from '../../../src/policy/names/cache.ts';
import { readNames, savedNames } from '../../../src/policy/names/saved.ts';
import { isWanted } from '../../../src/policy/names/wanted.ts';

const [POD, OTHER] = ['10.0.0.1', '10.0.0.2'].map(parseIp) as [Ip, Ip];
const ADDRESSES = ['192.0.2.1', '192.0.2.2', '2001:db8::1'].map(parseIp);
const [A = assert.fail(), B = assert.fail()] = ADDRESSES;
const GRACE = 60_000;
const NONE: ReadonlySet<Ip> = new Set();
const everything = (): boolean => true;

function cacheAt(begin = 0) {
  let now = begin;
  const cache = new NameCache(() => now);
  const learn = (name: string, ttl: number, ...ips: Ip[]) =>
    cache.learn(POD, { name, addresses: ips.map((ip) => ({ ip, ttl })) });
  const pass = (ms: number): void => {
    now += ms;
  };
  return { cache, learn, pass, now: () => now };
}

test('an address holds as long as its TTL says, and a minute more; what has not changed stays the same', () => {
  const { cache, learn, pass } = cacheAt();
  assert.equal(learn('a.example', 10, A), true);
  assert.equal(learn('b.example', 100, A, B), true);
  assert.equal(learn('a.example', 10, A), false, 'no news');
  const before = cache.names;
  assert.deepEqual(
    [...before],
    [
      [A, ['a.example', 'b.example']],
      [B, ['b.example']],
    ],
  );
  pass(10_000 + GRACE - 1);
  cache.forget(everything, NONE);
  assert.equal(cache.names, before);
  pass(1);
  cache.forget(everything, NONE);
  assert.deepEqual(
    [...cache.names],
    [
      [A, ['b.example']],
      [B, ['b.example']],
    ],
  );
  assert.equal(cache.names.get(B), before.get(B));
  pass(90_000);
  cache.forget(everything, NONE);
  assert.equal(cache.names.size, 0);
});

test('a shorter TTL does not end what an earlier answer gave, and none holds for more than a day', () => {
  const { cache, learn, pass } = cacheAt();
  learn('a.example', 1000, A);
  learn('a.example', 0, A);
  pass(1000_000 + GRACE - 1);
  cache.forget(everything, NONE);
  assert.equal(cache.names.size, 1);
  learn('a.example', 0x7fffffff, A);
  pass(24 * 3600_000 + GRACE);
  cache.forget(everything, NONE);
  assert.equal(cache.names.size, 0);
});

test('what is not wanted any more is forgotten', () => {
  const { cache, learn } = cacheAt();
  learn('a.example', 10, A);
  learn('b.example', 10, A);
  cache.forget((name) => name === 'b.example', NONE);
  assert.deepEqual([...cache.names], [[A, ['b.example']]]);
});

test('an address that has run out holds on while it is in use', () => {
  const { cache, learn, pass } = cacheAt();
  learn('a.example', 10, A, B);
  assert.deepEqual(cache.due, []);
  pass(10_000 + GRACE);
  assert.deepEqual(cache.due, [A, B]);
  cache.forget(everything, new Set([A]));
  assert.deepEqual([...cache.names], [[A, ['a.example']]]);
  assert.deepEqual(cache.due, []);
  pass(GRACE);
  assert.deepEqual(cache.due, [A]);
  cache.forget(() => false, new Set([A]));
  assert.equal(cache.names.size, 0, 'not if its name is not wanted any more');
});

const ipOf = (i: number): Ip => parseIp(`198.18.${i >> 8}.${i & 255}`);

test('a pod’s answers bring a thousand addresses, and one’s do not displace another’s', () => {
  const { cache, pass } = cacheAt();
  const hundred = Array.from({ length: 100 }, (_, i) => ({ ip: ipOf(i), ttl: 60 }));
  for (let i = 0; i < 10; i++) cache.learn(OTHER, { name: `n${i}.example`, addresses: hundred });
  for (let i = 0; i < 3000; i++) {
    pass(100);
    cache.learn(POD, { name: 'x.evil.example', addresses: [{ ip: ipOf(1000 + i), ttl: 3600 }] });
  }
  const of = (asker: Ip) => cache.all.filter((each) => each.asker === asker);
  assert.equal(of(OTHER).length, 1000);
  assert.equal(of(POD).length, 1000);
  assert.equal(of(POD).at(-1)?.ip, ipOf(3999), 'the latest are kept');
});

test('a pod that brings too much news in short time brings none; what is known is renewed', () => {
  const { cache, learn, pass } = cacheAt();
  const news = (from: number) =>
    Array.from({ length: 500 }, (_, i) => learn('x.example', 60, ipOf(from + i))).filter(Boolean).length;
  assert.equal(news(0), 200);
  pass(5000);
  assert.equal(news(500), 100);
  assert.equal(learn('x.example', 600, ipOf(0)), false);
  assert.equal(cache.all.find(({ ip }) => ip === ipOf(0))?.until, 5000 + 600_000 + GRACE);
  // Others are not concerned.
  assert.equal(cache.learn(OTHER, { name: 'y.example', addresses: [{ ip: A, ttl: 1 }] }), true);
});

test('what is saved is known to the next agent for the time that is left', () => {
  const { cache, learn, now } = cacheAt(5000);
  learn('a.example', 100, A, B);
  const text = savedNames(cache.all, { steady: now(), wall: 1_000_000 });
  const after = (passed: number) => {
    const next = cacheAt(77);
    next.cache.restore(readNames(text, { steady: 77, wall: 1_000_000 + passed }));
    next.cache.forget(everything, NONE);
    return next;
  };
  assert.deepEqual([...after(0).cache.names], [...cache.names]);
  assert.equal(after(100_000 + GRACE - 1).cache.names.size, 2);
  assert.equal(after(100_000 + GRACE).cache.names.size, 0);
  const back = after(-3600_000);
  back.pass(100_000 + GRACE);
  back.cache.forget(everything, NONE);
  assert.equal(back.cache.names.size, 0, 'a clock that was put back makes nothing hold longer');
});

test('a saved text of another shape is not believed', () => {
  const moment = { steady: 0, wall: 0 };
  for (const value of [
    null,
    [],
    7,
    {},
    { version: 2, at: 0, pods: [] },
    { version: 1, at: 0, pods: { a: 1 } },
  ])
    assert.deepEqual(readNames(JSON.stringify(value), moment), []);
  const known = [
    { name: 'a.example', ip: 'x', seconds: 5 },
    { name: 7, ip: A, seconds: 5 },
    { name: 'a.example', ip: A, seconds: null },
    7,
  ];
  const pods = [{ pod: POD, known }, { pod: 'x', known: [{ name: 'a.example', ip: A, seconds: 5 }] }, 7];
  assert.deepEqual(readNames(JSON.stringify({ version: 1, at: 0, pods }), moment), []);
  const endless = [{ name: 'a.example', ip: A, seconds: 1e15 }];
  const { cache, pass } = cacheAt();
  cache.restore(
    readNames(JSON.stringify({ version: 1, at: 0, pods: [{ pod: POD, known: endless }] }), moment),
  );
  pass(24 * 3600_000 + GRACE);
  cache.forget(everything, NONE);
  assert.equal(cache.names.size, 0);
});

test('a name is wanted if and only if a rule about it would match', () => {
  const label = fc.constantFrom('a', 'b', 'example', 'org');
  const name = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join('.'));
  const pattern = fc.tuple(fc.boolean(), name).map(([isBelow, each]) => (isBelow ? `*.${each}` : each));
  fc.assert(
    fc.property(name, fc.array(pattern, { maxLength: 3 }), (each, patterns) => {
      const matcher = { kind: 'names' as const, text: '', names: patterns };
      assert.equal(isWanted(each, new Set(patterns)), isNamed([each], matcher));
    }),
    { numRuns: 1000 },
  );
});

test('whatever happens in whatever order: what is known is what has been told and has not run out', () => {
  const asker = fc.constantFrom(POD, OTHER);
  const name = fc.constantFrom('a.example', 'b.example', 'c.example');
  const addresses = fc.array(fc.record({ ip: fc.constantFrom(...ADDRESSES), ttl: fc.nat(200) }), {
    minLength: 1,
    maxLength: 3,
  });
  const step = fc.oneof(
    fc.record({ asker, name, addresses }),
    fc.record({ pass: fc.nat(100_000) }),
    fc.record({ wanted: fc.subarray(['a.example', 'b.example', 'c.example']), used: fc.subarray(ADDRESSES) }),
    fc.record({ restart: fc.constant(true) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      let now = 0;
      let cache = new NameCache(() => now);
      // By pod, name and address, until when.
      let told = new Map<string, number>();
      for (const each of steps) {
        if ('pass' in each) now += each.pass;
        else if ('restart' in each) {
          const saved = savedNames(cache.all, { steady: now, wall: now });
          cache = new NameCache(() => now);
          cache.restore(readNames(saved, { steady: now, wall: now }));
          // Whole seconds are written down.
          told = new Map(
            [...told].map(([key, until]) => [key, now + Math.round((until - now) / 1000) * 1000]),
          );
        } else if ('wanted' in each) {
          cache.forget((wanted) => each.wanted.includes(wanted), new Set(each.used));
          for (const [key, until] of told) {
            const [, about = '', ip] = key.split(' ');
            if (!each.wanted.includes(about)) told.delete(key);
            else if (until <= now && each.used.some((used) => used === ip)) told.set(key, now + GRACE);
            else if (until <= now) told.delete(key);
          }
        } else {
          cache.learn(each.asker, { name: each.name, addresses: each.addresses });
          for (const { ip, ttl } of each.addresses) {
            const key = `${each.asker} ${each.name} ${ip}`;
            told.set(key, Math.max(told.get(key) ?? 0, now + ttl * 1000 + GRACE));
          }
        }
        const expected = new Map<string, Set<string>>();
        for (const key of told.keys()) {
          const [, about = '', ip = ''] = key.split(' ');
          expected.set(ip, (expected.get(ip) ?? new Set()).add(about));
        }
        const known = [...cache.names].map(([ip, names]) => [ip, new Set(names)] as const);
        assert.deepEqual(new Map<string, Set<string>>(known), expected);
      }
    }),
    { numRuns: 500 },
  );
});
