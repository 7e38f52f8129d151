import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { DEFAULT_PATHS, type Paths } from '../../src/agent/options.ts';
import { type Output, Outputs } from '../../src/agent/outputs.ts';
import { readNetwork } from '../../src/cluster/network.ts';
import { parseCidr } from '../../src/ip/cidr.ts';
import { readSubnetFile } from '../../src/ipam/subnet-file.ts';
import { SILENT } from '../../src/log.ts';

function folder(t: TestContext): Paths {
  const dir = mkdtempSync(join(tmpdir(), 'flatnet-outputs-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const path = (name: string): string => join(dir, name);
  return {
    ...DEFAULT_PATHS,
    run: path('run'),
    state: path('state'),
    subnetFile: path('flannel/subnet.env'),
    cniConf: path('net.d'),
    cniBin: path('bin'),
  };
}

function output(mtu: number): Output {
  const network = readNetwork({ Network: '10.244.0.0/16' });
  return { network, subnets: [parseCidr('10.244.1.0/24')], mtu, pods: [] };
}

test('an older output that failed is not written after a newer one', async (t) => {
  const paths = folder(t);
  const blocked = join(paths.subnetFile, '..');
  writeFileSync(blocked, 'no folder');
  const stop = new AbortController();
  await using outputs = new Outputs(paths, SILENT, stop.signal);
  outputs.write(output(1400));
  await sleep(20);
  rmSync(blocked);
  outputs.write(output(1500));
  // The first retry comes after 50 to 100 ms, later ones every few hundred.
  await sleep(400);
  assert.equal((await readSubnetFile(paths.subnetFile))?.mtu, 1500);
  stop.abort();
});

test('of many outputs at once, the last one wins', async (t) => {
  const paths = folder(t);
  const stop = new AbortController();
  await using outputs = new Outputs(paths, SILENT, stop.signal);
  for (let mtu = 1400; mtu <= 1500; mtu++) {
    outputs.write(output(mtu));
    if (mtu % 7 === 0) await sleep(1);
  }
  const deadline = performance.now() + 10_000;
  while ((await readSubnetFile(paths.subnetFile))?.mtu !== 1500) {
    assert.ok(performance.now() < deadline);
    await sleep(5);
  }
  await sleep(100);
  assert.equal((await readSubnetFile(paths.subnetFile))?.mtu, 1500);
  stop.abort();
});
