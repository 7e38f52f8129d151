import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { addNetwork, delNetwork } from '../../src/runtime/cni-exec.ts';
import { readConfList } from '../../src/runtime/conf-list.ts';
import { execPlugin, findPlugin } from '../../src/runtime/plugin-exec.ts';

/** A folder with this shell script as a plugin, which records its requests in `log`. */
function plugins(t: TestContext, scripts: Record<string, string>) {
  const dir = mkdtempSync(join(tmpdir(), 'flatnet-plugins-'));
  t.after(() => rmSync(dir, { recursive: true }));
  for (const [name, script] of Object.entries(scripts)) {
    const text = `#!/bin/sh\nconf=$(cat)\necho "$CNI_COMMAND ${name} $conf" >>'${dir}/log'\n${script}\n`;
    writeFileSync(join(dir, name), text);
    chmodSync(join(dir, name), 0o755);
  }
  const log = () => readFileSync(join(dir, 'log'), 'utf8').trim().split('\n');
  return { dir, log, binDirs: [join(dir, 'none'), dir] };
}

const ENV = { CNI_COMMAND: 'ADD' } as const;

test('a plugin’s output or failure is returned', async (t) => {
  const { binDirs } = plugins(t, {
    good: `echo '{"cniVersion":"1.0.0"}'`,
    silent: '',
    refuses: `echo '{"code":11,"msg":"later","details":"no lease"}'; exit 1`,
    crashes: 'echo oops >&2; exit 3',
    babbles: 'echo not JSON',
  });
  const run = (type: string) => execPlugin(type, ENV, '{}', { binDirs });
  assert.deepEqual(await run('good'), { cniVersion: '1.0.0' });
  assert.equal(await run('silent'), undefined);
  await assert.rejects(run('refuses'), {
    code: 'CNI',
    message: 'refuses ADD: later; no lease',
    cause: { code: 11, msg: 'later', details: 'no lease' },
  });
  await assert.rejects(run('crashes'), /crashes ADD: oops/);
  await assert.rejects(run('babbles'), /not JSON/);
  await assert.rejects(run('none'), { code: 'NOT_FOUND' });
  assert.throws(() => findPlugin('../good', binDirs), { code: 'NOT_FOUND' });
});

test('a plugin that takes too long, or is aborted, is killed', async (t) => {
  const { binDirs } = plugins(t, { sleeps: 'exec sleep 30' });
  await assert.rejects(execPlugin('sleeps', ENV, '{}', { binDirs, timeout: 100 }), /SIGKILL/);
  const abort = new AbortController();
  setTimeout(() => abort.abort(), 50);
  await assert.rejects(execPlugin('sleeps', ENV, '{}', { binDirs }, abort.signal), { name: 'AbortError' });
});

test('a chain passes results on, passes capabilities to plugins that declare them, and runs DEL in reverse', async (t) => {
  const result = (n: number) => `echo '{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.${n}/24"}]}'`;
  const { dir, log, binDirs } = plugins(t, { one: result(1), two: result(2) });
  const network = readConfList({
    name: 'net',
    cniVersion: '1.0.0',
    plugins: [{ type: 'one' }, { type: 'two', capabilities: { mac: true, ips: true, dns: false } }],
  });
  const options = {
    confDir: '/none',
    network,
    binDirs,
    cacheDir: dir,
    containerId: 'c',
    ifName: 'eth0',
    netns: '/n',
    capabilities: { mac: '02:00:00:00:00:01', dns: {} },
  };
  const added = await addNetwork(options);
  assert.deepEqual(added.ips, [{ address: '10.0.0.2/24' }]);
  await delNetwork(options);
  const calls = log().map((line) => {
    const [command, type, ...json] = line.split(' ');
    const conf = JSON.parse(json.join(' '));
    return [
      command,
      type,
      conf.prevResult?.ips?.[0]?.address,
      conf.runtimeConfig,
      conf.name,
      conf.cniVersion,
    ];
  });
  const mac = { mac: '02:00:00:00:00:01' };
  assert.deepEqual(calls, [
    ['ADD', 'one', undefined, undefined, 'net', '1.0.0'],
    ['ADD', 'two', '10.0.0.1/24', mac, 'net', '1.0.0'],
    ['DEL', 'two', '10.0.0.2/24', mac, 'net', '1.0.0'],
    ['DEL', 'one', '10.0.0.2/24', undefined, 'net', '1.0.0'],
  ]);
});

test('a failed ADD is undone, and the original error is thrown', async (t) => {
  const { dir, log, binDirs } = plugins(t, {
    one: 'true',
    two: `[ $CNI_COMMAND = DEL ] || { echo '{"code":7,"msg":"bad"}'; exit 1; }`,
  });
  const network = readConfList({
    name: 'net',
    cniVersion: '1.0.0',
    plugins: [{ type: 'one' }, { type: 'two' }],
  });
  const options = {
    confDir: '/none',
    network,
    binDirs,
    cacheDir: dir,
    containerId: 'c',
    ifName: 'eth0',
    netns: '/n',
  };
  await assert.rejects(addNetwork(options), /two ADD: bad/);
  assert.deepEqual(
    log().map((line) => line.split(' ').slice(0, 2).join(' ')),
    ['ADD one', 'ADD two', 'DEL two', 'DEL one'],
  );
});
