import assert from 'node:assert/strict';
import { after, before, describe, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf } from '../../../src/error.ts';
import { EtcdKv } from '../../../src/store/kv/client.ts';
import type { Kv, WatchBatch, WatchEvent } from '../../../src/store/kv/kv.ts';
import { Transport } from '../../../src/store/kv/transport.ts';
import { eventually, type Server } from '../servers.ts';

/** The conformance suite for every `Kv`, whatever the server behind it. */
export function conformance(title: string, start: () => Promise<Server>, skip: string | false = false): void {
  describe(title, { skip }, () => {
    let server: Server;
    let kv: Kv;
    let count = 0;
    /** Keys of one test only. */
    const fresh = (): string => `/t${++count}/`;
    before(async () => {
      server = await start();
      kv = new EtcdKv({ endpoints: [server.endpoint] });
    });
    after(async () => {
      kv?.close();
      await server?.stop();
    });

    test('put, get, delete: versions and revisions', async () => {
      const root = fresh();
      assert.equal(await kv.get(`${root}a`), undefined);
      const first = await kv.put(`${root}a`, 'one');
      const second = await kv.put(`${root}a`, 'two');
      assert.equal(second, first + 1);
      assert.deepEqual(await kv.get(`${root}a`), {
        key: `${root}a`,
        value: 'two',
        createRevision: first,
        modRevision: second,
        version: 2,
        lease: '0',
      });
      assert.equal(await kv.delete(`${root}a`), 1);
      assert.equal(await kv.delete(`${root}a`), 0);
      const third = await kv.put(`${root}a`, 'three');
      assert.equal(third, second + 2, 'a deletion creates a revision; deleting nothing does not');
      assert.deepEqual(
        [(await kv.get(`${root}a`))?.version, (await kv.get(`${root}a`))?.createRevision],
        [1, third],
      );
    });

    test('an empty key is refused', async () => {
      await assert.rejects(kv.put('', 'x'), { code: 'USAGE' });
      await assert.rejects(kv.get(''), { code: 'USAGE' });
    });

    test('list: the prefix and nothing else, in byte order, with the revision', async () => {
      const root = fresh();
      const inside = ['p', 'p-', 'p/', 'p/a', 'p0', 'pé', 'p\u{ffff}', 'p\u{10ffff}', 'p\u{10ffff}z'];
      const outside = ['P', 'o\u{10ffff}', 'q', 'o', ' '];
      for (const key of [...inside, ...outside].toReversed()) await kv.put(root + key, key);
      const revision = await kv.put(`${root}q`, 'again');
      const listed = await kv.list(`${root}p`);
      assert.equal(listed.revision, revision);
      const bytes = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));
      assert.deepEqual(
        listed.items.map(({ value }) => value),
        inside.toSorted(bytes),
      );
      assert.deepEqual(
        (await kv.list(`${root}p\u{10ffff}`)).items.map(({ value }) => value),
        ['p\u{10ffff}', 'p\u{10ffff}z'],
      );
      assert.deepEqual((await kv.list(`${root}nothing`)).items, []);
      const all = (await kv.list('')).items.map(({ key }) => key);
      assert.ok(all.includes(`${root}p`) && all.includes(`${root}q`));
    });

    test('values: empty, unicode, a megabyte; too large is an error', async () => {
      const root = fresh();
      for (const value of ['', 'żółć 🦊 \u0000 "\\ \n', 'é'.repeat(500_000)]) {
        await kv.put(`${root}v🦊`, value);
        assert.equal((await kv.get(`${root}v🦊`))?.value, value);
      }
      for (const size of [1_700_000, 4_000_000]) {
        await assert.rejects(kv.put(`${root}v`, 'x'.repeat(size)), { code: 'USAGE' });
      }
    });

    test('txn: each kind of comparison, both branches, one revision', async () => {
      const root = fresh();
      const a = `${root}a`;
      const revision = await kv.put(a, 'x');
      await kv.put(a, 'y');
      const holds = async (compare: Parameters<Kv['txn']>[0]['compare']): Promise<boolean> =>
        (await kv.txn({ compare, success: [] })).succeeded;
      assert.equal(await holds([]), true);
      assert.equal(await holds([{ key: a, target: 'version', equals: 2 }]), true);
      assert.equal(await holds([{ key: a, target: 'version', equals: 1 }]), false);
      assert.equal(await holds([{ key: a, target: 'createRevision', equals: revision }]), true);
      assert.equal(await holds([{ key: a, target: 'modRevision', equals: revision + 1 }]), true);
      assert.equal(await holds([{ key: a, target: 'modRevision', equals: revision }]), false);
      assert.equal(await holds([{ key: a, target: 'value', equals: 'y' }]), true);
      assert.equal(await holds([{ key: a, target: 'value', equals: 'x' }]), false);
      assert.equal(await holds([{ key: `${a}-no`, target: 'version', equals: 0 }]), true);
      assert.equal(await holds([{ key: `${a}-no`, target: 'modRevision', equals: 0 }]), true);
      assert.equal(await holds([{ key: `${a}-no`, target: 'value', equals: '' }]), false, 'no key, no value');
      assert.equal(
        await holds([
          { key: a, target: 'version', equals: 2 },
          { key: a, target: 'value', equals: 'x' },
        ]),
        false,
      );

      const done = await kv.txn({
        compare: [{ key: a, target: 'version', equals: 2 }],
        success: [
          { op: 'put', key: `${root}b`, value: '1' },
          { op: 'get', key: `${root}b` },
          { op: 'delete', key: a },
          { op: 'get', key: a },
          { op: 'delete', key: `${root}none` },
        ],
        failure: [{ op: 'put', key: `${root}c`, value: 'no' }],
      });
      assert.equal(done.succeeded, true);
      assert.equal(done.revision, revision + 2);
      assert.deepEqual(done.results[0], {});
      assert.equal(done.results[1]?.items?.[0]?.modRevision, done.revision);
      assert.deepEqual(done.results.slice(2), [{ deleted: 1 }, { items: [] }, { deleted: 0 }]);
      const other = await kv.txn({
        compare: [{ key: a, target: 'version', equals: 2 }],
        success: [{ op: 'put', key: `${root}b`, value: '2' }],
        failure: [{ op: 'get', key: `${root}b` }],
      });
      assert.equal(other.succeeded, false);
      assert.equal(other.revision, done.revision, 'reading creates no revision');
      assert.equal(other.results[0]?.items?.[0]?.value, '1');
    });

    test('txn: a key put twice, or both put and deleted, is rejected without effect', async () => {
      const key = `${fresh()}a`;
      const put = { op: 'put', key, value: 'x' } as const;
      await assert.rejects(kv.txn({ compare: [], success: [put, put] }), { code: 'USAGE' });
      await assert.rejects(kv.txn({ compare: [], success: [put, { op: 'delete', key }] }), { code: 'USAGE' });
      await assert.rejects(kv.txn({ compare: [], success: [], failure: [put, put] }), { code: 'USAGE' });
      const unleased = { op: 'put', key: `${key}b`, value: 'x', lease: '12345' } as const;
      await assert.rejects(kv.txn({ compare: [], success: [put, unleased] }), { code: 'NOT_FOUND' });
      assert.equal(await kv.get(key), undefined);
    });

    test('txn: one of many racing for a key wins, and no increment is lost', async () => {
      const root = fresh();
      const create = (_: unknown, i: number) =>
        kv.txn({
          compare: [{ key: `${root}lock`, target: 'version', equals: 0 }],
          success: [{ op: 'put', key: `${root}lock`, value: String(i) }],
        });
      const results = await Promise.all(Array.from({ length: 20 }, create));
      assert.equal(results.filter(({ succeeded }) => succeeded).length, 1);

      const increment = async (): Promise<void> => {
        for (;;) {
          const old = await kv.get(`${root}count`);
          const { succeeded } = await kv.txn({
            compare: [{ key: `${root}count`, target: 'modRevision', equals: old?.modRevision ?? 0 }],
            success: [{ op: 'put', key: `${root}count`, value: String(Number(old?.value ?? 0) + 1) }],
          });
          if (succeeded) return;
        }
      };
      await Promise.all(Array.from({ length: 10 }, increment));
      assert.equal((await kv.get(`${root}count`))?.value, '10');
    });

    test('lease: its keys are deleted together on revocation; keys moved away stay', async (t) => {
      const root = fresh();
      const lease = (await kv.grant(60)).id;
      const other = (await kv.grant(60)).id;
      for (const key of ['b', 'a', 'c', 'd']) await kv.put(root + key, key, { lease });
      assert.equal((await kv.get(`${root}a`))?.lease, lease);
      await kv.put(`${root}c`, 'free');
      const revision = await kv.put(`${root}d`, 'moved', { lease: other });
      const events = collect(kv, root, revision + 1, t);
      await kv.revoke(lease);
      await kv.revoke(lease);
      await eventually(() => events.length >= 1);
      assert.deepEqual(events, [
        [
          { type: 'delete', key: `${root}a` },
          { type: 'delete', key: `${root}b` },
        ],
      ]);
      assert.deepEqual(
        (await kv.list(root)).items.map(({ value }) => value),
        ['free', 'moved'],
      );
      await kv.revoke(other);
    });

    test('lease: unknown IDs', async () => {
      assert.equal(await kv.keepAlive('123456'), 0);
      assert.equal(await kv.timeToLive('123456'), -1);
      await kv.revoke('123456');
      await assert.rejects(kv.put(`${fresh()}a`, 'x', { lease: '123456' }), { code: 'NOT_FOUND' });
    });

    test('lease: expires with its keys unless kept alive', async (t) => {
      const root = fresh();
      const short = await kv.grant(1);
      const kept = await kv.grant(2);
      assert.ok(short.ttl >= 1 && short.ttl <= 2);
      const revision = await kv.put(`${root}short`, 'x', { lease: short.id });
      await kv.put(`${root}kept`, 'x', { lease: kept.id });
      const events = collect(kv, root, revision + 2, t);
      const ttl = await kv.timeToLive(kept.id);
      assert.ok(ttl >= 0 && ttl <= 2, `${ttl}`);
      for (const end = Date.now() + 6_000; events.length === 0 && Date.now() < end; await sleep(300)) {
        assert.equal(await kv.keepAlive(kept.id), 2);
      }
      assert.deepEqual(events, [[{ type: 'delete', key: `${root}short` }]]);
      assert.equal(await kv.timeToLive(short.id), -1);
      assert.equal(await kv.keepAlive(short.id), 0);
      assert.ok(await kv.get(`${root}kept`));
      await kv.revoke(kept.id);
    });

    test('watch: from a past revision, then live, only its prefix, a txn in one batch', async (t) => {
      const root = fresh();
      await kv.put(`${root}a`, 'before');
      const from = await kv.put(`${root}a`, '1');
      await kv.put(`${root}b`, '2');
      await kv.put(`/other${root}`, 'no');
      await kv.delete(`${root}a`);
      const batches = collect(kv, root, from, t);
      await eventually(() => batches.flat().length >= 3);
      assert.deepEqual(batches.flat().map(brief), ['put a=1', 'put b=2', 'delete a']);
      await kv.txn({
        compare: [],
        success: [
          { op: 'put', key: `${root}c`, value: '3' },
          { op: 'delete', key: `${root}b` },
          { op: 'put', key: `/other${root}`, value: 'no' },
        ],
      });
      await eventually(() => batches.flat().length >= 5);
      assert.deepEqual(batches.at(-1)?.map(brief), ['put c=3', 'delete b']);
    });

    test('watch: reports that it is established, and ends quietly when its signal aborts', async () => {
      const root = fresh();
      const { revision } = await kv.list(root);
      const abort = new AbortController();
      const batches: WatchBatch[] = [];
      for await (const batch of kv.watch(root, revision + 1, abort.signal)) {
        batches.push(batch);
        abort.abort();
      }
      assert.deepEqual(batches, [{ revision, events: [] }]);
      for await (const _ of kv.watch(root, 1, abort.signal)) assert.fail('aborted before it began');
    });

    test('watch: interrupted anywhere and resumed, it delivers every event once and in order', async () => {
      const root = fresh();
      const total = 150;
      let next = (await kv.list(root)).revision + 1;
      const writing = (async () => {
        for (let i = 0; i < total; i += 3) {
          await kv.put(`${root}${i % 7}`, `${i}`);
          const success = [1, 2].map((j) => ({ op: 'put', key: `${root}x${j}`, value: `${i + j}` }) as const);
          await kv.txn({ compare: [], success });
        }
      })();
      const seen: number[] = [];
      const deadline = Date.now() + 10_000;
      while (seen.length < total && Date.now() < deadline) {
        const abort = new AbortController();
        const stopAfter = 1 + Math.floor(Math.random() * 20);
        let batches = 0;
        for await (const { revision, events } of kv.watch(root, next, abort.signal)) {
          for (const event of events) if (event.type === 'put') seen.push(Number(event.item.value));
          next = revision + 1;
          if (++batches >= stopAfter || seen.length >= total) abort.abort();
        }
      }
      await writing;
      assert.deepEqual(
        seen,
        Array.from({ length: total }, (_, i) => i),
      );
    });

    test('watch: begun the moment an event arrives, it continues from there', async () => {
      const root = fresh();
      let next = (await kv.list(root)).revision + 1;
      let isDone = false;
      const writing = (async () => {
        for (let i = 0; !isDone; i++) await kv.put(`${root}${i % 7}`, `${i}`);
      })();
      try {
        for (let i = 0; i < 300; i++) {
          const abort = new AbortController();
          for await (const { revision, events } of kv.watch(root, next, abort.signal)) {
            if (events.length > 0) abort.abort();
            next = revision + 1;
          }
        }
      } finally {
        isDone = true;
        await writing;
      }
    });

    test('watch: starting at a compacted or future revision requires a new list', async () => {
      const root = fresh();
      const first = await kv.put(`${root}a`, '1');
      await kv.put(`${root}a`, '2');
      const newest = await kv.put(`${root}a`, '3');
      const admin = new Transport({ endpoints: [server.endpoint] });
      await admin.call('/v3/kv/compaction', { revision: String(newest) });
      const watch = async (from: number): Promise<string | undefined> => {
        try {
          for await (const { events } of kv.watch(root, from, AbortSignal.timeout(2_000))) {
            if (events.length) return undefined;
          }
        } catch (error) {
          return codeOf(error);
        }
      };
      assert.equal(await watch(first), 'STORE_COMPACTED');
      await kv.list(root);
      assert.equal(await watch(newest + 100), 'STORE_COMPACTED');
      await assert.rejects(admin.call('/v3/kv/compaction', { revision: String(newest) }), {
        code: 'STORE_COMPACTED',
      });
      assert.equal((await kv.get(`${root}a`))?.value, '3');
      admin.close();
    });
  });
}

/** Collects the events of a watch, one list per batch, until the test ends. */
function collect(kv: Kv, prefix: string, from: number, t: TestContext): WatchEvent[][] {
  const abort = new AbortController();
  const batches: WatchEvent[][] = [];
  const reading = (async () => {
    for await (const { events } of kv.watch(prefix, from, abort.signal))
      if (events.length) batches.push([...events]);
  })();
  t.after(async () => {
    abort.abort();
    await reading;
  });
  return batches;
}

function brief(event: WatchEvent): string {
  const name = (key: string): string => key.slice(key.lastIndexOf('/') + 1);
  return event.type === 'put'
    ? `put ${name(event.item.key)}=${event.item.value}`
    : `delete ${name(event.key)}`;
}
