import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import fc from 'fast-check';
import { expandWords, parseCommand } from '../../src/cluster/command.ts';

const VALUES = { SUBNET: '10.244.2.0/24', PUBLIC_IP: "a b'c", EMPTY: '' };
const NAMES = Object.keys(VALUES);

const words = (text: string): readonly string[] => expandWords(parseCommand(text, NAMES), VALUES);

test('words are a shell’s, as the shell itself says', () => {
  for (const text of [
    'ip route replace $SUBNET dev eth0',
    `a 'b  $SUBNET' "c  $SUBNET" d\\ e "\\$SUBNET \\x \\"" '' "" f'g'"h"`,
    `x\${SUBNET}y "$PUBLIC_IP" \\$SUBNET \\\\ \\"`,
    ' \t lines\n  are blanks ',
  ]) {
    const script = `printf '%s\\0' ${text.trim().replaceAll('\n', ' ')}`;
    const said = execFileSync('/bin/sh', ['-c', script], { encoding: 'utf8', env: VALUES });
    assert.deepEqual(words(text), said.split('\0').slice(0, -1), text);
  }
});

test('whatever a shell would be told in single quotes arrives as it is', () => {
  const argument = fc.string({ unit: 'binary' });
  fc.assert(
    fc.property(fc.array(argument, { minLength: 1 }), (all) => {
      const text = all.map((each) => `'${each.replaceAll("'", "'\\''")}'`).join(' ');
      assert.deepEqual(words(text), all);
    }),
  );
});

test('a value is never split, nor looked into', () => {
  fc.assert(
    fc.property(fc.string(), (value) => {
      const parsed = parseCommand(`say $A "is $A" x\${A}y`, ['A']);
      assert.deepEqual(expandWords(parsed, { A: value }), ['say', value, `is ${value}`, `x${value}y`]);
    }),
  );
});

test('what needs a shell, or cannot be meant, is an error that says what to write', () => {
  for (const [text, message] of [
    ['echo a | tee b', 'an unquoted | is for a shell: quote it, or set shell to true'],
    ['echo a > b', 'an unquoted > is'],
    ['a && b', 'an unquoted & is'],
    ['a; b', 'an unquoted ; is'],
    ['a $(b)', 'an unquoted \\$ is'],
    ['a `b`', 'an unquoted ` is'],
    [
      'a $SUBNETS',
      'there is no variable SUBNETS: those here are SUBNET, PUBLIC_IP, EMPTY; write \\\\\\$ for the character',
    ],
    ["a 'b", "a ' lacks its other half"],
    ['a "b', 'a " lacks its other half'],
    ['a \\', 'ends with a backslash'],
    ['  ', 'names no program'],
  ] as const)
    assert.throws(() => words(text), new RegExp(message.replace('|', '\\|')), text);
});
