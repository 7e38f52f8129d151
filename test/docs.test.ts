import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';

// What the documentation refers to is there: files, and headings in documents.

const ROOT = resolve(import.meta.dirname, '..');
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');
const DOCUMENTS = globSync(['*.md', 'docs/**/*.md', 'deploy/**/*.md'], { cwd: ROOT });

/** Without what is code. */
function prose(text: string): string {
  return text.replace(/^```.*?^```/gms, '').replace(/^ {4}.*$/gm, '');
}

/** As GitHub names headings. */
function anchors(text: string): Set<string> {
  const titles = [...text.matchAll(/^#+ (.*)$/gm)].map(([, title = '']) => title.toLowerCase());
  return new Set(titles.map((title) => title.replace(/[^\p{L}\p{N}\s_-]/gu, '').replaceAll(' ', '-')));
}

/** A link that leads nowhere, or undefined. */
function broken(from: string, link: string): string | undefined {
  const [path = '', heading] = link.split('#');
  const to = path === '' ? from : join(dirname(from), path);
  if (!existsSync(join(ROOT, to))) return `${from}: ${link}: there is no such file`;
  if (heading === undefined || !to.endsWith('.md') || anchors(prose(read(to))).has(heading)) return undefined;
  return `${from}: ${link}: there is no such heading`;
}

test('every link in the documentation leads somewhere', () => {
  const links = DOCUMENTS.flatMap((from) =>
    [...prose(read(from)).matchAll(/\]\(([^)\s]+)\)/g)].map(([, link = '']) => ({ from, link })),
  ).filter(({ link }) => !/^[a-z]+:/.test(link));
  assert.ok(links.length > 100);
  assert.deepEqual(
    links.flatMap(({ from, link }) => broken(from, link) ?? []),
    [],
  );
});
