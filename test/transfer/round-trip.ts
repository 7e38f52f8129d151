import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import fc from 'fast-check';
import { handlesOf } from '../../src/ipam/blocks/repair.ts';
import type { Store } from '../../src/store/ports/store.ts';
import { type Contents, fileOf } from '../../src/transfer/contents.ts';
import { exportStore } from '../../src/transfer/export.ts';
import { importStore } from '../../src/transfer/import.ts';
import { readContents } from '../../src/transfer/read.ts';
import type { Start } from '../store/ports/conformance.ts';
import { contents } from './arbitraries.ts';

const WRITE = { dryRun: false, replace: false };

/** Random contents, imported into one store and moved to another, are the same in both. */
export async function roundTrip(t: TestContext, from: Start, to: Start, numRuns: number): Promise<void> {
  const property = fc.asyncProperty(contents, async (given) => {
    const first = (await from(t)).open();
    await importStore(given, first, WRITE);
    const file = await exported(first);
    assert.deepEqual(sorted(file), sorted(given));

    const second = (await to(t)).open();
    const planned = await importStore(file, second, { ...WRITE, dryRun: true });
    assert.equal(await second.network.text(), undefined, 'a dry run writes nothing');
    assert.deepEqual(await importStore(file, second, WRITE), planned);
    assert.deepEqual(sorted(await exported(second)), sorted(given));
    const { handles } = await second.blocks.snapshot();
    assert.deepEqual(
      new Map([...handles].map(([id, { value }]) => [id, value])),
      new Map(handlesOf(given.blocks)),
    );

    const again = await importStore(file, second, WRITE);
    assert.deepEqual(
      again.filter(({ outcome }) => outcome !== 'unchanged'),
      [],
    );
  });
  await fc.assert(property, { numRuns, verbose: 1 });
}

/** Through a file. */
async function exported(store: Store): Promise<Contents> {
  const { contents: read, leftOut } = await exportStore(store);
  assert.deepEqual(leftOut, []);
  return readContents(JSON.parse(JSON.stringify(fileOf(read))), () => {});
}

/** Stores may list in any order. */
function sorted({ blocks, affinities, resources, nodes, ...rest }: Contents): unknown {
  const byText = <T>(all: readonly T[], text: (each: T) => string): T[] =>
    all.toSorted((a, b) => (text(a) < text(b) ? -1 : 1));
  return {
    ...rest,
    nodes: byText(nodes, ({ name }) => name),
    blocks: byText(blocks, ({ cidr }) => cidr),
    affinities: byText(affinities, ({ node, cidr }) => `${node} ${cidr}`),
    resources: byText(resources, ({ kind, metadata }) => `${kind}/${metadata.name}`),
  };
}
