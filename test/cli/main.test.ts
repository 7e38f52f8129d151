import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { resolve } from 'node:path';
import { test } from 'node:test';
import packageJson from '../../package.json' with { type: 'json' };

const FLATNET = resolve(import.meta.dirname, '../../bin/flatnet');

function run(file: string, ...args: string[]): Promise<{ status: number; stdout: string; stderr: string }> {
  return new Promise((done) => {
    execFile(file, args, { timeout: 30_000 }, (error, stdout, stderr) => {
      done({ status: error === null ? 0 : Number(error.code), stdout, stderr });
    });
  });
}

const WRONG: [string[], RegExp][] = [
  [['frob'], /^unknown command 'frob'; add --help to list the commands$/],
  [['lab', 'staus'], /^unknown command 'staus'; did you mean status\?$/],
  [['lab', 'up', '--nodse', '3'], /^unknown option '--nodse'; did you mean --nodes\?$/],
  [['lab', 'pod', 'create', 'x', '--listen', '0'], /--listen.*whole number from 1 to 65535/],
  [['lab', 'pod', 'create', 'x', '--annotation', 'x'], /^--annotation: 'x' is not an annotation; write it/],
  [
    ['lab', 'up', '--preset', 'calico', '--backend', 'vxlan'],
    /^--backend: is vxlan, but preset calico means bgp; drop it, or drop --preset$/,
  ],
  [['lab', 'up', '--backend', 'x'], /^--backend: unknown backend 'x'; use one of vxlan/],
  [['lab', 'up', '--backend', 'bgp'], /^--backend: bgp needs routed pods; use --preset calico-bgp instead$/],
  [['bgp', 'status', '--lab', 'x'], /^--lab: does not say which node; add --node, e\.g\. --node node1$/],
  [['status', '--socket', 'x', '--node', 'y'], /^--socket: conflicts with --node; use one of them$/],
  [['doctor', '--node', 'x', '--config', 'y'], /^--config: conflicts with --node; drop one$/],
  [['doctor', '--lab', 'x'], /^--lab: does not say which node; add --node/],
  [['doctor', '--peers', 'x'], /--peers.*whole number from 0 to/],
  [['lab', 'exec', 'x'], /^missing required argument 'command'$/],
];
for (const [words, message] of WRONG) {
  test(`flatnet ${words.join(' ')}`, async () => {
    const plain = await run(FLATNET, ...words);
    assert.equal(plain.status, 2);
    assert.equal(plain.stdout, '');
    const [line = '', ...more] = plain.stderr.trimEnd().split('\n');
    assert.deepEqual(more, []);
    assert.match(line.replace('flatnet: ', ''), message);

    const json = await run(FLATNET, ...words, '--json');
    assert.equal(json.status, 2);
    assert.equal(json.stdout, '');
    const { error } = JSON.parse(json.stderr);
    assert.equal(error.code, 'USAGE');
    assert.match(error.message, message);
  });
}

test('help and version exit with 0', async () => {
  const help = await run(FLATNET, 'lab', 'up', '--help');
  assert.match(help.stdout, /^Usage: flatnet lab up/);
  assert.deepEqual(await run(FLATNET, 'help', 'lab', 'up'), help);
  assert.deepEqual(await run(FLATNET, '--version'), {
    status: 0,
    stdout: `${packageJson.version}\n`,
    stderr: '',
  });
});

test('a reader that stops early causes no error', async () => {
  const { stderr } = await run('sh', '-c', `"${FLATNET}" lab up --help | true`);
  assert.equal(stderr, '');
});
