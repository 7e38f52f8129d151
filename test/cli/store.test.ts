import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { startEmbedded, temporaryFolder } from '../store/servers.ts';

const MAIN = join(import.meta.dirname, '../../src/cli/main.ts');

type Ran = { readonly status: number; readonly out: string; readonly err: string };

async function flatnet(...words: string[]): Promise<Ran> {
  const argv = ['--disable-warning=ExperimentalWarning', MAIN, ...words];
  try {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, argv);
    return { status: 0, out: stdout, err: stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
    return { status: code, out: stdout, err: stderr };
  }
}

async function endpoint(t: TestContext): Promise<readonly string[]> {
  const server = await startEmbedded();
  t.after(() => server.stop());
  return ['--endpoint', server.endpoint];
}

const NETWORK = { Network: '10.5.0.0/16', Backend: { Type: 'vxlan' }, Comment: 'kept' };
const POOL = {
  apiVersion: 'projectcalico.org/v3',
  kind: 'IPPool',
  metadata: { name: 'main' },
  spec: { cidr: '10.6.0.0/16' },
};

test('flatnet store export and import: another store gets the same; differences are named', async (t) => {
  const [old, next] = [await endpoint(t), await endpoint(t)];
  const folder = temporaryFolder();
  t.after(() => rmSync(folder, { recursive: true }));
  const file = (name: string, value: unknown): string => {
    const path = join(folder, name);
    writeFileSync(path, typeof value === 'string' ? value : JSON.stringify(value));
    return path;
  };
  assert.match((await flatnet('store', 'export', ...old)).err, /there is no network configuration/);
  await flatnet('config', 'apply', '-f', file('network.json', NETWORK), ...old);
  await flatnet('apply', '-f', file('pool.json', POOL), ...old);
  const exported = await flatnet('store', 'export', ...old);
  assert.deepEqual([exported.status, exported.err], [0, '']);
  assert.deepEqual(JSON.parse(exported.out).network, NETWORK, 'with keys that flatnet does not know');
  const saved = file('cluster.json', exported.out);

  const planned = await flatnet('store', 'import', '-f', saved, '--dry-run', ...next);
  const lines = 'IPPool/main created\nnetwork created\n2 created, 0 replaced, 1 unchanged';
  assert.equal(planned.out, `${lines} (dry run: nothing was written)\n`);
  assert.equal((await flatnet('get', 'pools', ...next)).out, 'no IPPool\n');
  assert.equal((await flatnet('store', 'import', '-f', saved, ...next)).out, `${lines}\n`);
  assert.equal((await flatnet('store', 'export', ...next)).out, exported.out);
  assert.equal(
    (await flatnet('store', 'import', '-f', saved, ...next)).out,
    '0 created, 0 replaced, 3 unchanged\n',
  );
  const yaml = file('cluster.yaml', (await flatnet('store', 'export', '-o', 'yaml', ...old)).out);
  assert.equal(
    (await flatnet('store', 'import', '-f', yaml, ...next)).out,
    '0 created, 0 replaced, 3 unchanged\n',
  );

  await flatnet(
    'apply',
    '-f',
    file('pool.json', { ...POOL, spec: { ...POOL.spec, disabled: true } }),
    ...next,
  );
  const refused = await flatnet('store', 'import', '-f', saved, ...next);
  assert.equal(refused.status, 1);
  assert.match(refused.err, /nothing was written.*IPPool\/main: spec differs; add --replace/);
  const replaced = await flatnet('store', 'import', '-f', saved, '--replace', ...next);
  assert.equal(replaced.out, 'IPPool/main replaced\n0 created, 1 replaced, 2 unchanged\n');
  assert.equal((await flatnet('store', 'export', ...next)).out, exported.out);

  const newer = file('newer.json', { ...JSON.parse(exported.out), version: 2 });
  const unknown = await flatnet('store', 'import', '-f', newer, ...next);
  assert.equal(unknown.status, 2);
  assert.match(unknown.err, /newer\.json: version: 2 is not known/);
  assert.equal((await flatnet('store', 'import', '-f', saved, '--lab', 'x')).status, 2);
});
