import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Companion } from '../../src/companions/companion.ts';
import { Companions } from '../../src/companions/companions.ts';
import { SILENT } from '../../src/log.ts';

test('a former backend stays for a companion that withholds nodes, not for one whose process restarts', async () => {
  const problem = 'not ready';
  const kinds: Record<string, Companion> = {
    withholding: { problem, withholds: undefined, [Symbol.asyncDispose]: async () => {} },
    other: { problem, [Symbol.asyncDispose]: async () => {} },
  };
  const registry = Object.entries(kinds).map(([backend, companion]) => ({
    backend,
    name: backend,
    load: async () => ({ start: () => companion, end: async () => {} }),
  }));
  const paths = { run: '/nowhere', state: '/nowhere' };
  const { signal } = new AbortController();
  await using companions = new Companions(
    { node: 'node1', paths, secrets: '', assigner: {} as never, log: SILENT, signal },
    registry,
  );
  await companions.use('withholding');
  assert.equal(companions.unready, problem);
  await companions.use('other');
  assert.deepEqual([companions.problem, companions.unready], [problem, undefined]);
});
