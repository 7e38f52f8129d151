import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';

const ROOT = resolve(import.meta.dirname, '../..');
const CANNOT = process.env.CI || process.geteuid?.() === 0 ? false : 'needs root';

describe('the bundle', { skip: CANNOT }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'flatnet-bundle-'));
  const dist = join(folder, 'dist');
  before(() => {
    mkdirSync(dist);
    execFileSync(process.execPath, [join(ROOT, 'tools/bundle/bundle.ts'), dist]);
    const arch = process.arch;
    cpSync(
      join(ROOT, `node_modules/@koromix/koffi-linux-${arch}/linux_${arch}/koffi.node`),
      join(dist, 'koffi.node'),
    );
    cpSync(join(ROOT, 'share'), join(folder, 'share'), { recursive: true });
  });
  after(() => rmSync(folder, { recursive: true }));

  /** Runs it where neither the sources nor the packages can be seen. */
  const run = (...args: string[]) => {
    const hide = ['src', 'node_modules']
      .map((name) => `mount -t tmpfs none ${join(ROOT, name)}`)
      .join(' && ');
    const node = join(folder, 'node');
    cpSync(process.execPath, node);
    const script = `${hide} && exec "$@"`;
    const argv = ['-m', '-n', 'sh', '-c', script, 'sh', node, join(dist, 'flatnet.mjs'), ...args];
    return spawnSync('unshare', argv, { cwd: '/', encoding: 'utf8', timeout: 60_000, env: {} });
  };

  test('runs from any folder, without the sources and the packages', () => {
    const version = run('--version');
    assert.deepEqual([version.status, version.stderr], [0, ''], version.stderr);
    // The last command loads the whole agent, with the native half of koffi.
    for (const command of ['lab up', 'store serve', 'bgp status', 'apply', 'agent']) {
      const help = run(...command.split(' '), '--help');
      assert.equal(help.status, 0, help.stderr);
      assert.match(help.stdout, new RegExp(`^Usage: flatnet ${command}`));
    }
    const list = run('lab', 'list', '--json');
    assert.equal(list.status, 0, list.stderr);
  });

  test('Amazon’s SDK is a file of its own, which loads where there are no packages', () => {
    const knowsEc2 = (name: string): boolean =>
      readFileSync(join(dist, name), 'utf8').includes('com.amazonaws.ec2');
    assert.deepEqual(['flatnet.mjs', 'aws-ec2.mjs'].map(knowsEc2), [false, true]);
    const text = `import('${join(dist, 'aws-ec2.mjs')}').then((sdk) => new sdk.EC2Client({ region: 'x' }))`;
    const loaded = spawnSync(process.execPath, ['--input-type=module', '--eval', text], {
      cwd: '/',
      encoding: 'utf8',
    });
    assert.deepEqual([loaded.status, loaded.stderr], [0, '']);
  });

  test('refers to nothing by its place among the sources', () => {
    const text = readFileSync(join(dist, 'flatnet.mjs'), 'utf8');
    const uses = [...text.matchAll(/import\.meta\.\w+[^;}]{0,24}/g)].map(([use]) => use);
    const allowed = [
      // Node's own modules for packages in CommonJS, the installation's folder, koffi beside the bundle.
      /^import\.meta\.url\)/,
      /^import\.meta\.dirname,"\.\."\)/,
      /^import\.meta\.dirname$/,
      // Handed to koffi's search, which no longer uses it.
      /^import\.meta\.dirname,pkg/,
    ];
    assert.deepEqual(
      uses.filter((use) => !allowed.some((pattern) => pattern.test(use))),
      [],
    );
    assert.doesNotMatch(text, /\.ts['"`]\)|new URL\([^)]*import\.meta/);
    for (const folder of ['src', 'tools', 'node_modules'])
      assert.ok(!text.includes(join(ROOT, folder)), 'no path of the machine that built it');
  });

  test('comes out the same every time', () => {
    const again = join(folder, 'again');
    mkdirSync(again);
    execFileSync(process.execPath, [join(ROOT, 'tools/bundle/bundle.ts'), again]);
    for (const name of ['flatnet.mjs', 'flatnet-cni.mjs']) {
      assert.deepEqual(readFileSync(join(again, name)), readFileSync(join(dist, name)), name);
    }
  });
});

test('the launcher starts Node with the same settings as bin/flatnet', () => {
  const launcher = readFileSync(join(ROOT, 'tools/launcher/launcher.c'), 'utf8');
  const script = readFileSync(join(ROOT, 'bin/flatnet'), 'utf8');
  const line = /^exec "\$node" (.*) "\$root/m.exec(script)?.[1] ?? '';
  const options = line.split(' ');
  assert.ok(options.length > 1);
  for (const option of options) assert.ok(launcher.includes(`"${option}"`), option);
  for (const [, name = '', value = ''] of script.matchAll(/(\w+)="\$\{\w+:-(\d+)\}"/g)) {
    assert.ok(launcher.includes(`setenv("${name}", "${value}", 0)`), name);
  }
});
