import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { networkToNetConf } from '../../../src/cluster/network.ts';
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

    test('its text is kept as written, with keys that flatnet does not know', async (t) => {
      const { open } = await start(t);
      const [one, other] = [open(), open()];
      assert.equal(await one.network.text(), undefined);
      const text = '{"network": "10.5.0.0/18", "SubnetLen": 24, "Backend": {"Type": "vxlan"}, "later": [1]}';
      await one.network.replace(undefined, text);
      const read = await other.network.text();
      assert.equal(read?.value, text);
      assert.deepEqual(await other.network.read(), LEASES);
      await one.network.write(DUAL);
      assert.equal((await other.network.text())?.value, networkToNetConf(DUAL));
    });

    test('is replaced only by one who has read the latest', async (t) => {
      const { open } = await start(t);
      const [one, other] = [open(), open()];
      const [leases, dual] = [networkToNetConf(LEASES), networkToNetConf(DUAL)];
      const first = await Promise.allSettled([
        one.network.replace(undefined, leases),
        other.network.replace(undefined, dual),
      ]);
      assert.deepEqual(first.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
      const read = await one.network.text();
      await other.network.replace(read, leases);
      // The same text again is a change too.
      await assert.rejects(one.network.replace(read, dual), { code: 'STORE_CONFLICT' });
      await assert.rejects(one.network.replace(undefined, dual), { code: 'STORE_CONFLICT' });
      assert.deepEqual(await one.network.read(), LEASES);
      await one.network.replace(await one.network.text(), dual);
      assert.deepEqual(await other.network.read(), DUAL);
    });

    test('an invalid text is refused, and what is there stays', async (t) => {
      const { network } = (await start(t)).open();
      await network.write(LEASES);
      const read = await network.text();
      for (const text of ['{"Network": "10.0.0.0/33"}', '[]']) {
        await assert.rejects(network.replace(read, text), { code: 'CONFIG_INVALID' });
      }
      assert.deepEqual(await network.text(), read);
    });
  });
}
