import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { answerAlone } from '../../../src/cni/shim/answer-alone.ts';
import { type CallOptions, eventually, Host, leftovers, must, Pod, request } from '../host.ts';

/** Makes a DEL while no agent answers. */
function delAlone(host: Host, options: CallOptions): void {
  const { env, stdin } = request('DEL', options);
  const reply = answerAlone(env, stdin, new Error('no agent'), { stateDir: host.stateDir });
  assert.deepEqual(reply, { stdout: '', stderr: '', exit: 0 });
}

/**
 * A chain of `bridge`, with us as its IPAM delegate, and our own plugin makes two calls for one interface.
 */
const DELEGATE = { name: 'chain', type: 'bridge', ipam: { type: 'flatnet' } };
const CHAINED = {
  name: 'chain',
  prevResult: { cniVersion: '1.1.0', interfaces: [{ name: 'eth0', sandbox: '/x' }], ips: [] },
};

test('DELs of one interface by several plugins and networks are all recorded and executed', async () => {
  await using host = new Host({ subnets: ['10.90.1.0/24'] });
  using pod = new Pod();
  await must(host, 'ADD', { pod });
  await must(host, 'ADD', { pod, conf: DELEGATE });
  await must(host, 'ADD', { pod, conf: CHAINED });
  await must(host, 'ADD', { pod, conf: { ...DELEGATE, name: 'other' } });
  for (const conf of [{}, CHAINED, DELEGATE, { ...DELEGATE, name: 'other' }]) delAlone(host, { pod, conf });
  assert.equal(readdirSync(join(host.stateDir, 'deleted')).length, 4);
  await host.service.collectGarbage();
  await eventually('nothing is left', () => leftovers(host).length === 0);
  assert.deepEqual(host.warnings, []);
});

test('an ADD first executes the DEL recorded for its attachment, by any version of the plugin', async (t) => {
  const oldName = (host: Host, options: CallOptions): void => {
    // Earlier versions named the file by container and interface alone.
    const { env, stdin } = request('DEL', options);
    mkdirSync(join(host.stateDir, 'deleted'), { recursive: true });
    const note = JSON.stringify({ op: 'cni', env, stdin });
    writeFileSync(join(host.stateDir, 'deleted', 'pod-0-eth0.json'), note);
  };
  for (const [version, noted] of Object.entries({ new: delAlone, old: oldName })) {
    await t.test(version, async () => {
      await using host = new Host({ subnets: ['10.90.1.0/24'] });
      using pod = new Pod();
      await must(host, 'ADD', { pod });
      noted(host, { pod });
      const { ips } = await must(host, 'ADD', { pod });
      assert.equal(ips.length, 1);
      assert.deepEqual(readdirSync(join(host.stateDir, 'deleted')), []);
      await must(host, 'DEL', { pod });
      await eventually('nothing is left', () => leftovers(host).length === 0);
    });
  }
});

test('a note that says nothing is dropped, and keeps nobody from working', async () => {
  await using host = new Host({ subnets: ['10.90.1.0/24'] });
  using pod = new Pod();
  await must(host, 'ADD', { pod });
  const dir = join(host.stateDir, 'deleted');
  mkdirSync(join(dir, 'folder.json', 'x'), { recursive: true });
  const texts = [
    '',
    'null',
    '[]',
    '7',
    '{}',
    '{"env":7}',
    '{"env":{"CNI_COMMAND":7}}',
    '{"env":{},"stdin":[]}',
    '{',
  ];
  for (const [i, text] of texts.entries()) writeFileSync(join(dir, `note${i}.json`), text);
  await host.service.collectGarbage();
  assert.deepEqual(readdirSync(dir), []);
  assert.equal(host.pods.size, 1);
});
