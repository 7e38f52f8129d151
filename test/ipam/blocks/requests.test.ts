import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pool, TestPlan } from './plan.ts';

const ADDRESS = { families: [4], attributes: {} } as const;

test('requests to the store: one write to take an address, one to release it', async (t) => {
  const plan = await TestPlan.start(t, pool('p', '10.1.0.0/24', 26), pool('q', 'fd00::/116', 122));
  const { assigner, upkeep, requests } = plan.node('node1');
  const asked = (): string[] => requests.splice(0).sort();
  await assigner.assign({ ...ADDRESS, handle: 'a' });
  assert.deepEqual(asked(), [
    'affinities',
    'affinities',
    'affinities',
    'announce',
    'blocks',
    'blocks',
    'config',
    'createBlock',
    'handles',
    'replaceBlock',
    'setAffinity',
  ]);
  await assigner.assign({ ...ADDRESS, handle: 'b' });
  assert.deepEqual(asked(), ['handles', 'replaceBlock']);
  await assigner.assign({ handle: 'both', families: [4, 6], attributes: {} });
  asked();
  await assigner.assign({ handle: 'both too', families: [4, 6], attributes: {} });
  assert.deepEqual(asked(), ['handles', 'replaceBlock', 'replaceBlock']);
  await assigner.release('b');
  assert.deepEqual(asked(), ['handles', 'replaceBlock']);
  await upkeep.releaseEmptyBlocks();
  assert.deepEqual(asked(), ['affinities', 'blocks', 'config']);
  await assigner.assign({ ...ADDRESS, handle: 'd' });
  assert.deepEqual(asked(), ['handles', 'replaceBlock']);
});
