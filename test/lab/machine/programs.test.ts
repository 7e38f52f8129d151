import assert from 'node:assert/strict';
import { test } from 'node:test';
import { requirePodPrograms } from '../../../src/lab/machine/programs.ts';

test('a lab without the programs that make pods is refused', () => {
  assert.throws(() => requirePodPrograms('/nope'), {
    code: 'NOT_FOUND',
    message: 'unshare: is not installed; pods need it; install util-linux',
  });
  requirePodPrograms();
});
