import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pool, TestPlan } from './plan.ts';

const ADDRESS = { families: [4], attributes: {} } as const;

test('what a node asks of the store: two requests for an address, three to give it back', async (t) => {
  const plan = await TestPlan.start(t, pool('p', '10.1.0.0/24', 26));
  const { assigner, upkeep, requests } = plan.node('node1');
  await assigner.assign({ ...ADDRESS, handle: 'a' });
  assert.deepEqual(requests.splice(0).sort(), [
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
    'writeHandle',
  ]);
  await assigner.assign({ ...ADDRESS, handle: 'c' });
  assert.deepEqual(requests.splice(0), ['writeHandle', 'replaceBlock']);
  await assigner.release('c');
  assert.deepEqual(requests.splice(0), ['handles', 'replaceBlock', 'deleteHandle']);
  await upkeep.releaseEmptyBlocks();
  assert.deepEqual(requests.splice(0).sort(), ['affinities', 'blocks', 'config']);
  await assigner.assign({ ...ADDRESS, handle: 'd' });
  assert.deepEqual(requests.splice(0), ['writeHandle', 'replaceBlock']);
});
