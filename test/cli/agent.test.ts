import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { test } from 'node:test';

const FLATNET = resolve(import.meta.dirname, '../../bin/flatnet');

test('a wrong store endpoint or TLS file is an error that names the file and the field', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'flatnet-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const config = join(folder, 'agent.json');
  const wrong: [object, RegExp][] = [
    [
      { endpoints: ['10.0.0.1'] },
      /agent\.json: store\.endpoints: '10\.0\.0\.1' .*; write http:\/\/host:port/,
    ],
    [{ endpoints: [] }, /agent\.json: store\.endpoints: is empty/],
    [{ tls: { caFile: '/nope/ca.pem' } }, /agent\.json: store\.tls\.caFile: ENOENT/],
  ];
  for (const [store, message] of wrong) {
    writeFileSync(config, JSON.stringify({ node: 'node1', store }));
    const { status, stderr } = spawnSync(FLATNET, ['agent', '--config', config], {
      encoding: 'utf8',
      timeout: 30_000,
    });
    assert.equal(status, 2, stderr);
    assert.match(stderr, message);
  }
});
