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

test('flannel’s flags for the Kubernetes API', () => {
  const run = (args: string[], env: Record<string, string> = {}) =>
    spawnSync(FLATNET, ['agent', ...args], {
      encoding: 'utf8',
      timeout: 30_000,
      env: { ...process.env, ...env },
    });
  const wrong: [string[], Record<string, string>, RegExp][] = [
    [[], {}, /--config: is missing; use either --config FILE or --kube-subnet-mgr/],
    [['--config', 'x', '--kube-subnet-mgr'], {}, /conflicts with --kube-subnet-mgr/],
    [['--kube-subnet-mgr'], { NODE_NAME: '' }, /NODE_NAME: is not set/],
    [['--kube-subnet-mgr', '--kubeconfig-file', '/nope'], { NODE_NAME: 'a' }, /\/nope: ENOENT/],
  ];
  for (const [args, env, message] of wrong) {
    const { status, stderr } = run(args, env);
    assert.equal(status, 2, stderr);
    assert.match(stderr, message);
  }
});
