import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Start } from './conformance.ts';
import { DUAL, LEASES } from './facts.ts';

export function networkConformance(start: Start): void {
  describe('network', () => {
    test('is absent until written; every agent reads the latest', async (t) => {
      const { open } = await start(t);
      const [one, other] = [open(), open()];
      await assert.rejects(one.network.read(), { code: 'NOT_FOUND' });
      await one.network.write(LEASES);
      assert.deepEqual(await other.network.read(), LEASES);
      await other.network.write(DUAL);
      assert.deepEqual(await one.network.read(), DUAL);
    });
  });
}
