import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { NO_KERNEL } from '../state/namespace.ts';
import { ATTACKS, type Scene } from './attacks.ts';
import { CHECKS } from './legitimate.ts';
import { Stage } from './scene.ts';

const attacksOn = (wiring: Scene['wiring']) => ATTACKS.filter(({ wirings }) => wirings.includes(wiring));

/** Without the guard, attacks have their effect. */
export function unguarded(wiring: Scene['wiring'], skip: string | false = NO_KERNEL): void {
  test(`${wiring}: without the guard, attacks have their effect`, { skip }, async (t: TestContext) => {
    await using stage = await Stage.set(wiring, false);
    for (const attack of attacksOn(wiring)) {
      const expected = attack.stoppedBy === undefined;
      await t.test(expected ? attack.name : `${attack.name}: stopped by ${attack.stoppedBy}`, async () => {
        assert.equal(await stage.succeeds(attack, expected), expected);
      });
    }
  });
}

/**
 * With the guard they have none, and what must work works. `filtered`: whether bridged packets pass the
 * chains of `ip` and `ip6` too; undefined where there is no choice.
 */
export function guarded(
  wiring: Scene['wiring'],
  filtered: readonly (boolean | undefined)[] = [undefined],
  skip: string | false = NO_KERNEL,
): void {
  for (const on of filtered) {
    test(title(wiring, on), { skip }, async (t: TestContext) => {
      await using stage = await Stage.set(wiring, true);
      if (on !== undefined) stage.setBrNetfilter(on);
      for (const attack of attacksOn(wiring)) {
        await t.test(attack.name, async () => assert.equal(await stage.succeeds(attack, false), false));
      }
      for (const [name, wirings, works] of CHECKS) {
        if (!wirings.includes(wiring)) continue;
        await t.test(`but ${name}`, async () => assert.ok(await works(stage.scene)));
      }
    });
  }
}

function title(wiring: string, filtered: boolean | undefined): string {
  const how = filtered === undefined ? '' : `, br_netfilter ${filtered ? 'on' : 'off'}`;
  return `${wiring}: with the guard, they have none${how}`;
}
