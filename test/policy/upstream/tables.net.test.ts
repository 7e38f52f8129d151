import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FAMILIES } from '../../../src/ip/address.ts';
import { netnsPath } from '../../../src/linux/netns.ts';
import { compilePolicies } from '../../../src/policy/compile/compile.ts';
import { Memory } from '../../../src/policy/compile/memory.ts';
import { NO_KERNEL, Running } from '../../state/namespace.ts';
import { InjectedNode } from './injected.ts';
import { type Case, TABLES, Table } from './tables.ts';

/** Of more cases than this, some. */
const MOST = { 4: 48, 6: 24 } as const;

for (const name of TABLES) {
  for (const family of FAMILIES) {
    test(`${name}, IPv${family}: the kernel does what is expected, from one case to the next`, {
      skip: NO_KERNEL,
    }, async () => {
      const table = new Table(name);
      using node = new InjectedNode(family, table.ends(family));
      using running = new Running({ path: netnsPath(node.name) });
      const memory = new Memory();
      for (const each of some(table.cases, MOST[family])) {
        for (const [number, { facts, probes }] of table.situations(each, family).entries()) {
          const { tables, directory, pods } = compilePolicies(facts, memory);
          running.want([...tables, ...directory, ...[...pods.values()].flatMap(({ items }) => items)]);
          await running.settled();
          // What a pod sends to itself does not leave it.
          const sent = probes.filter(({ source, destination }) => source !== destination);
          const passing = node.passing(sent);
          for (const probe of sent) {
            const found = passing.has(probe) ? 'accept' : 'drop';
            assert.equal(found, probe.expected, `${each.name}, step ${number + 1}: ${probe.text}`);
          }
        }
      }
    });
  }
}

/** Spread over all of them. */
function some(cases: readonly Case[], most: number): readonly Case[] {
  const step = Math.ceil(cases.length / most);
  return cases.filter((_, i) => i % step === 0);
}
