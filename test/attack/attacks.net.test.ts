import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { NO_KERNEL } from '../state/namespace.ts';
import { ATTACKS } from './attacks.ts';
import { CHECKS } from './legitimate.ts';
import { Stage } from './scene.ts';

/** Whether bridged packets pass the chains of `ip` and `ip6` too; undefined where there is no choice. */
const BR_NETFILTER: readonly (boolean | undefined)[] = existsSync('/proc/sys/net/bridge')
  ? [true, false]
  : [undefined];

function title(wiring: string, filtered: boolean | undefined): string {
  const how = filtered === undefined ? '' : `, br_netfilter ${filtered ? 'on' : 'off'}`;
  return `${wiring}: with the guard, they have none${how}`;
}

for (const wiring of ['bridge', 'routed'] as const) {
  const attacks = ATTACKS.filter(({ wirings }) => wirings.includes(wiring));

  test(`${wiring}: without the guard, attacks have their effect`, { skip: NO_KERNEL }, async (t) => {
    await using stage = await Stage.set(wiring, false);
    for (const attack of attacks) {
      const expected = attack.stoppedBy === undefined;
      await t.test(expected ? attack.name : `${attack.name}: stopped by ${attack.stoppedBy}`, async () => {
        assert.equal(await stage.succeeds(attack, expected), expected);
      });
    }
  });

  for (const filtered of wiring === 'bridge' ? BR_NETFILTER : [undefined])
    test(title(wiring, filtered), { skip: NO_KERNEL }, async (t) => {
      await using stage = await Stage.set(wiring, true);
      if (filtered !== undefined) stage.setBrNetfilter(filtered);
      for (const attack of attacks) {
        await t.test(attack.name, async () => assert.equal(await stage.succeeds(attack, false), false));
      }
      for (const [name, wirings, works] of CHECKS) {
        if (!wirings.includes(wiring)) continue;
        await t.test(`but ${name}`, async () => assert.ok(await works(stage.scene)));
      }
    });
}
