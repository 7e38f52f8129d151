import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FAMILIES } from '../../../src/ip/address.ts';
import { compilePolicies } from '../../../src/policy/compile/compile.ts';
import type { PolicyFacts } from '../../../src/policy/compile/facts.ts';
import { Memory } from '../../../src/policy/compile/memory.ts';
import { verdict } from '../arbitrary.ts';
import { walker } from '../compiled.ts';
import { TABLES, Table } from './tables.ts';

for (const name of TABLES) {
  for (const family of FAMILIES) {
    test(`${name}, IPv${family}: the rules and the tables say what is expected, on one node and on two`, () => {
      const table = new Table(name);
      for (const each of table.cases) {
        const nodes = [() => true, (i: number) => i % 2 === 0, (i: number) => i % 2 === 1].map((isHere) => ({
          isHere,
          memory: new Memory(),
        }));
        for (const [number, { facts, probes }] of table.situations(each, family).entries()) {
          const [one = assert.fail(), ...two] = nodes.map(({ isHere, memory }) =>
            walker(compilePolicies(on(facts, isHere), memory)),
          );
          for (const { text, source, destination, flow, expected } of probes) {
            const where = `${each.name}, step ${number + 1}: ${text}`;
            assert.equal(verdict(facts, source, destination, flow), expected, `the rules: ${where}`);
            const packet = { source, destination, flow };
            assert.equal(one(packet).verdict, expected, `the tables: ${where}`);
            const pass = two.every((walk) => walk(packet).verdict === 'accept');
            assert.equal(pass ? 'accept' : 'drop', expected, `the tables of two nodes: ${where}`);
          }
        }
      }
    });
  }
}

test('the tables have as many cases as upstream', () => {
  const names = (table: string) => new Table(table).cases.map((each) => each.name);
  assert.equal(names('netpol.yaml').length, 48);
  assert.equal(new Set(names('netpol.yaml')).size, 48);
  assert.ok(names('cyclonus.yaml').length >= 230);
});

/** A node with some of the pods. */
function on(facts: PolicyFacts, isHere: (index: number) => boolean): PolicyFacts {
  return { ...facts, subjects: facts.subjects.filter((_, i) => isHere(i)) };
}
