import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { readNetwork } from '../../src/cluster/network.ts';
import { holdingFinding, kernelFindings } from '../../src/doctor/kernel.ts';

const skip = process.geteuid?.() === 0 || process.env.CI ? false : 'needs root';

test('interfaces of the network’s wiring, and nftables, are tried', { skip }, () => {
  const network = readNetwork({ Network: '172.30.0.0/16', wiring: 'macvlan' });
  assert.deepEqual(
    kernelFindings(network).map(({ state, what }) => `${state} ${what}`),
    ['ok veth devices', 'ok macvlan devices', 'ok nftables'],
  );
});

test('a kernel that cannot hold answers is told from one that can, as nft tells them', { skip }, async () => {
  const table = 'table ip t { chain c { type filter hook forward priority 0; queue num 1 bypass; } }';
  const { status } = spawnSync('unshare', ['--net', 'nft', '-f', '-'], { input: table });
  const { state, fix } = await holdingFinding();
  assert.equal(state, status === 0 ? 'ok' : 'note');
  assert.equal(fix, status === 0 ? undefined : 'modprobe nft_queue');
});
