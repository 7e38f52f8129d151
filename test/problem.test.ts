import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { ERROR_CODES } from '../src/error.ts';
import { PROBLEM_IDS } from '../src/problem.ts';

// docs/troubleshooting.md explains every problem there is: a section each, headed by the problem's id, with
// the line it shows. The line has to be what the source says.

const ROOT = resolve(import.meta.dirname, '..');
const DOC = 'docs/troubleshooting.md';
const DOCUMENT = readFileSync(resolve(ROOT, DOC), 'utf8');
const SOURCES = globSync('src/**/*.ts', { cwd: ROOT }).map((path) => ({
  path,
  // A string that is broken into lines is one string.
  text: readFileSync(resolve(ROOT, path), 'utf8')
    .replace(/['`] \+\s+['`]/g, '')
    .replaceAll("\\'", "'"),
}));

/** By id. */
const SECTIONS = new Map(
  DOCUMENT.split(/^(?=##)/m).flatMap((part): [string, string][] => {
    const [, id] = part.match(/^### `(.+)`$/m) ?? [];
    return id === undefined ? [] : [[id, part]];
  }),
);

const template = (id: string): string => `
### \`${id}\`

    ! <the line in the status, with <…> for what differs>

**Symptom.** What people notice.

**Cause.** Why it happens.

**Fix.** What to do.
`;

test('every problem has a section in the documentation', () => {
  const missing = PROBLEM_IDS.filter((id) => !SECTIONS.has(id));
  assert.ok(missing.length === 0, `add to ${DOC}:\n${missing.map(template).join('')}`);
  const known: readonly string[] = PROBLEM_IDS;
  const gone = [...SECTIONS.keys()].filter((id) => !known.includes(id));
  assert.ok(gone.length === 0, `${DOC} has sections of problems that src/problem.ts does not list: ${gone}`);
  assert.deepEqual(PROBLEM_IDS, PROBLEM_IDS.toSorted(), 'PROBLEM_IDS in src/problem.ts is sorted');
});

test('every problem can occur', () => {
  const others = SOURCES.filter(({ path }) => path !== 'src/problem.ts');
  const unused = PROBLEM_IDS.filter((id) => !others.some(({ text }) => text.includes(`'${id}'`)));
  assert.ok(unused.length === 0, `remove from src/problem.ts and ${DOC}, or use: ${unused.join(', ')}`);
});

for (const [id, section] of SECTIONS) {
  test(`${id}: a line as the source has it, symptom, cause and fix`, () => {
    for (const part of ['Symptom', 'Cause', 'Fix']) {
      assert.ok(section.includes(`\n**${part}.** `), `${DOC}: ${id} has no paragraph '**${part}.** …'`);
    }
    const [, lines] = section.match(/\n\n((?: {4}(?:! |not ready: ).+\n)+)\n/) ?? [];
    assert.ok(lines !== undefined, `${DOC}: ${id} shows no line, indented by 4: '! …' or 'not ready: …'`);
    // What stands for something else, and where one part of the line ends.
    const texts = lines
      .split('\n')
      .flatMap((line) => line.replace(/^ {4}(?:! |not ready: )/, '').split(/<[^>]*>|: |; /))
      .map((text) => text.trim());
    for (const text of texts.filter((each) => each.length > 8)) {
      const found = SOURCES.some((source) => source.text.includes(text));
      assert.ok(found, `${DOC}: ${id} says '${text}', which is nowhere in src/: update the line`);
    }
  });
}

test('every error code has a row in the documentation', () => {
  const rows = [...DOCUMENT.matchAll(/^\| `([A-Z_]+)` \| .+ \| .+ \|$/gm)].map(([, code]) => code);
  assert.deepEqual(
    rows,
    [...ERROR_CODES],
    `the table in ${DOC} has a row for each of ERROR_CODES, in their order`,
  );
});
