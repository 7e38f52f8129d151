import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createNetns, deleteNetns } from '../../../src/linux/netns.ts';
import { PolicyPart } from '../../../src/policy/node/contributions.ts';
import type { Contribution } from '../../../src/state/contributions.ts';
import { diff } from '../../../src/state/diff.ts';
import { keyOf } from '../../../src/state/item.ts';
import { Kernel } from '../../../src/state/kernel.ts';
import { compose } from '../../state/compose.ts';
import { NO_KERNEL, Running } from '../../state/namespace.ts';
import { History, history } from '../history.ts';

const NODE = { subnets: [], families: [4, 6] as const, devices: 'cali', bridge: 'cni0', cuts: true };

test('an agent that starts has nothing to write, whatever the one before it went through', {
  skip: NO_KERNEL,
}, async () => {
  const path = createNetns(`fn-restart-${process.pid}`);
  try {
    using running = new Running({ path });
    const seed = Math.floor(Math.random() * 2 ** 31);
    for (const { events, end } of fc.sample(history, { numRuns: 6, seed })) {
      const [lived, part] = [new History(), new PolicyPart()];
      for (const { each, isLookedAt } of events) {
        lived.take(each);
        if (isLookedAt) running.wantAll(contributionsOf(part, lived));
      }
      running.wantAll(contributionsOf(part, lived));
      await running.settled();
      const fresh = new History();
      for (const each of end) fresh.take(each);
      const { items } = compose(contributionsOf(new PolicyPart(), fresh));
      const kernel = new Kernel({ netns: path });
      const changes = diff(await kernel.read(items), items);
      kernel.close();
      assert.deepEqual(
        changes.map(({ action, item }) => `${action} ${keyOf(item)}`),
        [],
        `seed ${seed}`,
      );
    }
  } finally {
    deleteNetns(`fn-restart-${process.pid}`);
  }
});

function contributionsOf(part: PolicyPart, { local, view, addresses }: History): readonly Contribution[] {
  return part.of(local, view, { ...NODE, names: { addresses, observed: 'copied', resolvers: [] } })
    .contributions;
}
