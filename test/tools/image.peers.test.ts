import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { eventually } from '../store/servers.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const ARCH = process.arch === 'x64' ? 'amd64' : 'arm64';
const CANNOT = process.env.CI || process.geteuid?.() === 0 ? false : 'needs root';

type Json = { readonly [key: string]: unknown };
type Descriptor = { readonly digest: string; readonly size: number };

describe('the image', { skip: CANNOT }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'flatnet-image-test-'));
  const archive = join(folder, 'first', `flatnet-${ARCH}.tar`);
  const root = join(folder, 'root');
  let layers: Descriptor[] = [];

  const build = (output: string, ...args: string[]): void =>
    void execFileSync(
      join(ROOT, 'scripts/image'),
      ['--output', join(folder, output), '--lock', join(folder, 'debian.lock.json'), ...args],
      {
        stdio: 'pipe',
      },
    );
  const blob = ({ digest }: Descriptor): string => join(folder, 'layout/blobs/sha256', digest.slice(7));
  const json = (path: string): Json => JSON.parse(readFileSync(path, 'utf8')) as Json;

  before(() => {
    // The archive keeps only the newest versions of packages; a new one there is no fault of ours.
    build('first', '--update-lock');
    for (const name of ['layout', 'root']) mkdirSync(join(folder, name));
    execFileSync('tar', ['-xf', archive, '-C', join(folder, 'layout')]);
    const [manifest] = json(join(folder, 'layout/index.json')).manifests as Descriptor[];
    assert.ok(manifest);
    layers = json(blob(manifest)).layers as Descriptor[];
    for (const each of layers) execFileSync('tar', ['-xzf', blob(each), '-C', root]);
  });
  after(() => rmSync(folder, { recursive: true }));

  /** Runs a program of the image, with nothing of this machine but /proc, on a read-only root. */
  const run = (...argv: string[]) => {
    const script =
      'mount --rbind "$0" "$0" && mount -t proc proc "$0/proc" && mount -o remount,bind,ro "$0" && exec chroot "$0" "$@"';
    return spawnSync('unshare', ['-m', '-n', '-p', '-f', 'sh', '-c', script, root, ...argv], {
      encoding: 'utf8',
      timeout: 60_000,
    });
  };

  test('two builds are the same, bit by bit', () => {
    build('second', '--fresh');
    const again = readFileSync(join(folder, 'second', `flatnet-${ARCH}.tar`));
    assert.ok(again.equals(readFileSync(archive)));
  });

  test('is small enough', () => {
    const sizes = layers.map((each) => gunzipSync(readFileSync(blob(each))).length);
    const unpacked = sizes.reduce((sum, size) => sum + size, 0);
    assert.ok(unpacked < 180e6, `${unpacked} bytes unpacked`);
  });

  test('its programs run with what is in it', () => {
    for (const [argv, says] of [
      [['/usr/bin/flatnet', '--version'], /^\d+\.\d+\.\d+\n$/],
      [['/usr/sbin/nft', '--version'], /^nftables v1\./],
      [['/usr/sbin/bird', '--version'], /^BIRD version 2\./],
    ] as const) {
      const { status, stdout, stderr } = run(...argv);
      assert.equal(status, 0, stderr);
      assert.match(stdout + stderr, says);
    }
    // Loads koffi and all of the agent.
    const agent = run('/usr/bin/flatnet', 'agent', '--config', '/none');
    assert.deepEqual([agent.status, agent.stderr], [2, 'flatnet: /none: no such file\n']);
  });

  test('holds no shell', () => {
    assert.notEqual(run('/bin/sh', '-c', 'true').status, 0);
  });

  test('containerd imports it', async (t) => {
    const at = (name: string): string => join(folder, name);
    const args = ['--root', at('containerd'), '--state', at('state'), '--address', at('containerd.sock')];
    const containerd = spawn('containerd', args, { stdio: 'ignore' });
    t.after(() => void containerd.kill('SIGKILL'));
    const ctr = (...words: string[]) =>
      spawnSync('ctr', ['--address', at('containerd.sock'), ...words], { encoding: 'utf8' });
    await eventually(async () => ctr('version').status === 0, 60_000);
    const imported = ctr('images', 'import', '--snapshotter', 'native', archive);
    assert.equal(imported.status, 0, imported.stderr);
    assert.match(
      ctr('images', 'list').stdout,
      new RegExp(`^flatnet\\.dev/flatnet:\\S+ .*linux/${ARCH}`, 'm'),
    );
    containerd.kill('SIGTERM');
  });
});
