import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { codeOf } from '../../../src/error.ts';
import { EtcdKv } from '../../../src/store/kv/client.ts';
import type { Compare, KeyValue, Kv, Operation } from '../../../src/store/kv/kv.ts';
import { NO_ETCD, startEmbedded, startEtcd } from '../servers.ts';

type Step =
  | { readonly do: 'grant' }
  | { readonly do: 'revoke' | 'keepAlive'; readonly lease: number }
  | { readonly do: 'put'; readonly key: string; readonly value: string; readonly lease: number }
  | { readonly do: 'get' | 'delete' | 'list'; readonly key: string }
  | {
      readonly do: 'txn';
      readonly compare: Condition[];
      readonly success: Action[];
      readonly failure: Action[];
    };
type Condition = { readonly key: string; readonly target: Compare['target']; readonly equals: number };
type Action = {
  readonly op: Operation['op'];
  readonly key: string;
  readonly value: string;
  readonly lease: number;
};

const key = fc.constantFrom('a', 'a/', 'a/b', 'b', 'é', '\u{10ffff}');
const value = fc.constantFrom('', '0', '1', 'ä\n');
// 0 means no lease; most others have not been granted yet.
const lease = fc.nat(4);
const condition = fc.record({
  key,
  target: fc.constantFrom<Compare['target']>('version', 'createRevision', 'modRevision', 'value'),
  equals: fc.nat(6),
});
const action = fc.record({ op: fc.constantFrom<Operation['op']>('put', 'get', 'delete'), key, value, lease });
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ do: fc.constant('grant' as const) }),
  fc.record({ do: fc.constantFrom('revoke' as const, 'keepAlive' as const), lease }),
  fc.record({ do: fc.constant('put' as const), key, value, lease }),
  fc.record({ do: fc.constantFrom('get' as const, 'delete' as const, 'list' as const), key }),
  fc.record({
    do: fc.constant('txn' as const),
    compare: fc.array(condition, { maxLength: 2 }),
    success: fc.array(action, { maxLength: 4 }),
    failure: fc.array(action, { maxLength: 2 }),
  }),
);

/**
 * Runs the steps below `root` and returns all of the store's answers, with revisions relative to the start
 * and leases numbered.
 */
async function answers(kv: Kv, root: string, steps: readonly Step[]): Promise<unknown[]> {
  const base = (await kv.list(root)).revision;
  const leases = ['0'];
  const idOf = (number: number): string => leases[number] ?? '999999';
  const relative = (item: KeyValue | undefined) =>
    item && {
      ...item,
      key: item.key.slice(root.length),
      createRevision: item.createRevision - base,
      modRevision: item.modRevision - base,
      lease: leases.indexOf(item.lease),
    };
  const operation = ({ op, key: name, value: text, lease: number }: Action): Operation =>
    op === 'put' ? { op, key: root + name, value: text, lease: idOf(number) } : { op, key: root + name };
  const compare = ({ key: name, target, equals }: Condition): Compare => {
    if (target === 'value') return { key: root + name, target, equals: String(equals) };
    const number = target === 'version' || equals === 0 ? equals : equals + base;
    return { key: root + name, target, equals: number };
  };

  const run = async (one: Step): Promise<unknown> => {
    switch (one.do) {
      case 'grant': {
        const { id, ttl } = await kv.grant(600);
        leases.push(id);
        return ttl;
      }
      case 'revoke':
        return idOf(one.lease) === '0' ? undefined : kv.revoke(idOf(one.lease));
      case 'keepAlive':
        return kv.keepAlive(idOf(one.lease));
      case 'put':
        return (await kv.put(root + one.key, one.value, { lease: idOf(one.lease) })) - base;
      case 'get':
        return relative(await kv.get(root + one.key));
      case 'delete':
        return kv.delete(root + one.key);
      case 'list': {
        const { revision, items } = await kv.list(root + one.key);
        return [revision - base, items.map(relative)];
      }
      case 'txn': {
        const { succeeded, revision, results } = await kv.txn({
          compare: one.compare.map(compare),
          success: one.success.map(operation),
          failure: one.failure.map(operation),
        });
        const shown = results.map(({ items, ...rest }) => ({
          ...rest,
          ...(items && { items: items.map(relative) }),
        }));
        return { succeeded, revision: revision - base, results: shown };
      }
    }
  };
  const said: unknown[] = [];
  for (const one of steps) said.push(await run(one).catch((error: unknown) => `throws ${codeOf(error)}`));

  // The complete history, as reported by a watch from the start up to a marker.
  const end = await kv.put(`${root}~end`, '');
  const abort = new AbortController();
  for await (const { revision, events } of kv.watch(root, base + 1, abort.signal)) {
    for (const event of events) {
      const told = event.type === 'put' ? relative(event.item) : event.key.slice(root.length);
      said.push([event.type, told]);
    }
    if (revision >= end) abort.abort();
  }
  for (const id of leases.slice(1)) await kv.revoke(id);
  return said;
}

describe('the embedded server and etcd', { skip: NO_ETCD }, () => {
  test('give the same answers to the same requests', async () => {
    const [embedded, etcd] = await Promise.all([startEmbedded(), startEtcd()]);
    const [ours, theirs] = [embedded, etcd].map(({ endpoint }) => new EtcdKv({ endpoints: [endpoint] }));
    assert.ok(ours && theirs);
    let run = 0;
    try {
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 30 }), async (steps) => {
          const root = `/d${++run}/`;
          const [mine, real] = await Promise.all([answers(ours, root, steps), answers(theirs, root, steps)]);
          assert.deepEqual(mine, real);
        }),
        { numRuns: 50 },
      );
    } finally {
      ours.close();
      theirs.close();
      await Promise.all([embedded.stop(), etcd.stop()]);
    }
  });
});
