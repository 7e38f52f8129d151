import assert from 'node:assert/strict';
import { globSync } from 'node:fs';
import { resolve } from 'node:path';
import { test } from 'node:test';
import type { Command } from 'commander';

const CLI = resolve(import.meta.dirname, '../../src/cli');
const NO_COMMANDS = [
  'main.ts',
  'lab/lab.ts',
  'lab/shared.ts',
  'policy/policy.ts',
  'bgp/bgp.ts',
  'takeover/takeover.ts',
  'store/store.ts',
  'kubectl/kubectl.ts',
  'kubectl/overview.ts',
  'kubectl/shared.ts',
];

/** Every command that does something, with its words. */
async function commands(): Promise<[string, Command][]> {
  const found: [string, Command][] = [];
  for (const path of globSync('**/*.ts', { cwd: CLI }).sort()) {
    if (path.startsWith('shared/') || NO_COMMANDS.includes(path)) continue;
    const { command } = (await import(resolve(CLI, path))) as { command: Command };
    const words = path.replace('.ts', '').replace('/', ' ');
    const inner = command.commands.map((each): [string, Command] => [`${words} ${each.name()}`, each]);
    found.push(...(inner.length > 0 ? inner : [[words, command] as [string, Command]]));
  }
  return found;
}

test('whatever concerns a lab takes --lab, and --name for the same; the help shows --lab', async () => {
  const all = await commands();
  assert.ok(all.length > 25, `${all.length} commands`);
  for (const [words, command] of all) {
    const flags = command.options.flatMap(({ short, long }) => [short, long]);
    const isTaken = flags.includes('--lab');
    assert.equal(flags.includes('--name'), isTaken, words);
    if (words.startsWith('lab ') && words !== 'lab list') assert.ok(isTaken, words);
    if (!isTaken) continue;
    assert.match(command.helpInformation(), /--lab <lab> .*also:\s+--name/s, words);
    assert.doesNotMatch(command.helpInformation(), /--name <lab>|--name,/, words);
    for (const name of ['--lab', '--name']) {
      const given = command.parseOptions([name, 'x', `${name}=y`]);
      assert.deepEqual([given.unknown, command.opts().lab], [[], 'y'], `${words} ${name}`);
    }
  }
});
