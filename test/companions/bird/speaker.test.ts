import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';

const module = (path: string): string =>
  JSON.stringify(new URL(`../../../src/${path}`, import.meta.url).href);

/** A process without free file descriptors when it creates its speaker; it frees them after a while. */
const PROGRAM = `
  import { openSync, closeSync } from 'node:fs';
  import { setTimeout as sleep } from 'node:timers/promises';
  import { BgpSpeaker } from ${module('companions/bird/speaker.ts')};
  import { SILENT } from ${module('log.ts')};
  const stop = new AbortController();
  const warn = (fields, text) => console.log(JSON.stringify({ ...fields, text }));
  await sleep(1);
  const taken = [];
  try {
    for (;;) taken.push(openSync('/dev/null'));
  } catch {}
  const folder = '/nonexistent';
  const table = { routes: [], onLink: new Map() };
  const options = { folder, secrets: folder, table, log: { ...SILENT, warn }, signal: stop.signal };
  const speaker = new BgpSpeaker(options);
  await sleep(50);
  for (const fd of taken) closeSync(fd);
  await sleep(500);
  console.log(JSON.stringify({ text: 'lives' }));
  stop.abort();
  await speaker[Symbol.asyncDispose]();
`;

test('an agent out of file descriptors survives, and watches BIRD’s routes once one is free', () => {
  const limited = `ulimit -n 64; exec "$@"`;
  const node = [
    process.execPath,
    '--input-type=module',
    '--disable-warning=ExperimentalWarning',
    '-e',
    PROGRAM,
  ];
  const { stdout, stderr, status } = spawnSync('sh', ['-c', limited, 'sh', ...node], { encoding: 'utf8' });
  const events = stdout
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
  assert.equal(status, 0, stderr);
  assert.deepEqual(
    events.map(({ text, what }) => [what, text]),
    [
      ['watch BIRD’s routes', 'will try again'],
      [undefined, 'lives'],
    ],
  );
  assert.match(events[0]?.reason, /EMFILE/);
});
