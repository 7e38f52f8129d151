import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Lab } from '../../src/lab/record/lab.ts';
import { CANNOT, flatnet, TestLab } from '../lab/host.ts';

test('the backend of a running lab is changed by writing its configuration', { skip: CANNOT }, async (t) => {
  const lab = new TestLab(t, 'c');
  await lab.ok('up', '--nodes', '2');
  const folder = mkdtempSync(join(tmpdir(), 'flatnet-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'network.yaml');
  const selection = ['--lab', lab.name];

  const { stdout } = await flatnet('config', 'get', '-o', 'yaml', ...selection);
  writeFileSync(file, stdout);
  const same = await flatnet('config', 'apply', '-f', file, ...selection);
  assert.equal(same.stdout, 'network unchanged\n', same.stderr);

  writeFileSync(file, stdout.replace('vxlan', 'host-gw'));
  const changed = await flatnet('config', 'apply', '-f', file, ...selection);
  assert.equal(changed.stdout, '~ Backend.Type: vxlan → host-gw\nnetwork configured\n', changed.stderr);
  assert.equal(Lab.open(lab.name).network.backend.type, 'host-gw');
  const backend = async (): Promise<string> =>
    JSON.parse((await flatnet('status', '--node', 'node1', '--json', ...selection)).stdout).backend;
  const deadline = performance.now() + 30_000;
  while ((await backend()) !== 'host-gw' && performance.now() < deadline) await sleep(100);
  assert.equal(await backend(), 'host-gw');

  // A lab's nodes have a network of their own.
  writeFileSync(file, 'network: 172.30.0.0/16\n');
  const refused = await flatnet('config', 'apply', '-f', file, ...selection);
  assert.equal(refused.status, 2);
  assert.match(
    refused.stderr,
    /network\.yaml: Network: 172\.30\.0\.0\/16 overlaps .*, which is the underlay of the lab/,
  );
});
