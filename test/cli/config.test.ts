import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { startEmbedded } from '../store/servers.ts';

const FLATNET = resolve(import.meta.dirname, '../../bin/flatnet');

type Result = { readonly status: number; readonly stdout: string; readonly stderr: string };
type Run = (words: readonly string[], input?: string) => Promise<Result>;

/** Starts a separate store; returns a function that runs flatnet against it. */
async function start(t: TestContext): Promise<Run> {
  const server = await startEmbedded();
  t.after(() => server.stop());
  return async (words, input = '') => {
    const child = spawn(FLATNET, [...words, '--endpoint', server.endpoint], { timeout: 30_000 });
    const output = Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')]);
    child.stdin.end(input);
    const [stdout, stderr, [status]] = await output;
    return { status, stdout, stderr };
  };
}

const APPLY = ['config', 'apply', '-f', '-'];
const VXLAN = 'network: 10.244.0.0/16\nbackend: {type: vxlan, vni: 7}\n';
const HOST_GW = '{"network": "10.244.0.0/16", "backend": {"Type": "host-gw"}}';

test('the configuration is written, shown as written, and changed, with what differs', async (t) => {
  const run = await start(t);
  const none = await run(['config', 'get']);
  assert.equal(none.status, 1);
  assert.match(none.stderr, /there is no network configuration; write it: flatnet config apply -f/);

  const tried = await run([...APPLY, '--dry-run'], VXLAN);
  assert.match(tried.stdout, /^\+ EnableIPv4: true\n/);
  assert.match(
    tried.stdout,
    /\+ Backend\.vni: 7\n(.*\n)*network created \(dry run: nothing was written\)\n$/,
  );
  assert.equal((await run(['config', 'get'])).status, 1);

  const created = await run(APPLY, VXLAN);
  assert.deepEqual([created.status, created.stderr], [0, '']);
  assert.match(created.stdout, /network created\n$/);
  assert.deepEqual(await run(APPLY, VXLAN), { status: 0, stdout: 'network unchanged\n', stderr: '' });

  const yaml = await run(['config', 'get', '-o', 'yaml']);
  assert.equal(yaml.stdout, 'network: 10.244.0.0/16\nbackend:\n  type: vxlan\n  vni: 7\n');
  assert.equal((await run(APPLY, yaml.stdout)).stdout, 'network unchanged\n');
  const json = await run(['config', 'get', '--json']);
  assert.deepEqual(JSON.parse(json.stdout), { network: '10.244.0.0/16', backend: { type: 'vxlan', vni: 7 } });
  assert.equal((await run(['config', 'get'])).stdout, json.stdout);

  assert.deepEqual(await run(APPLY, HOST_GW), {
    status: 0,
    stdout: '~ Backend.Type: vxlan → host-gw\n- Backend.vni: 7\nnetwork configured\n',
    stderr: '',
  });
  const back = await run([...APPLY, '--json'], VXLAN);
  assert.deepEqual(JSON.parse(back.stdout), {
    outcome: 'configured',
    dryRun: false,
    changes: [
      { key: 'Backend.Type', before: 'host-gw', after: 'vxlan' },
      { key: 'Backend.vni', after: 7 },
    ],
  });
});

test('what no node could use is refused by name of file and field, and nothing is written', async (t) => {
  const run = await start(t);
  const nodes = `apiVersion: projectcalico.org/v3
kind: BGPConfiguration
metadata: {name: default}
spec: {serviceClusterIPs: [{cidr: 10.96.0.0/12}]}
`;
  assert.equal((await run(['apply', '-f', '-'], nodes)).status, 0);
  const wrong: [string, RegExp][] = [
    ['network: 10.244.0.0/33', /^flatnet: standard input: Network: /],
    [
      '{"Network": "10.244.0.0/16", "Backend": {"Type": "wireguard"}}',
      /input: Backend\.Type: unknown backend/,
    ],
    ['{"Network": "10.244.0.0/16", "Backend": {"VNI": "x"}}', /input: Backend\.VNI: must be a whole number/],
    [
      'network: 10.96.0.0/16',
      /input: Network: 10\.96\.0\.0\/16 overlaps 10\.96\.0\.0\/12, which is a network of serv/,
    ],
    ['a: [', /^flatnet: standard input:1:5: /],
  ];
  for (const [input, message] of wrong) {
    const { status, stdout, stderr } = await run(APPLY, input);
    assert.deepEqual([status, stdout], [2, ''], input);
    assert.match(stderr, message);
  }
  assert.equal((await run(['config', 'get'])).status, 1);
});

test('unknown keys are kept, with a warning; so are pods', async (t) => {
  const run = await start(t);
  const odd = JSON.stringify({ Network: '10.244.0.0/16', EnableNFTables: true, Backend: { prot: 1 } });
  const { status, stderr } = await run(APPLY, odd);
  assert.equal(status, 0);
  assert.match(
    stderr,
    /warning: EnableNFTables: flatnet does not know this key and ignores it; the keys are/,
  );
  assert.match(stderr, /warning: Backend\.prot: .* ignores it; did you mean Port\?/);
  assert.deepEqual(JSON.parse((await run(['config', 'get'])).stdout), JSON.parse(odd));
  const moved = await run(APPLY, 'network: 10.245.0.0/16');
  assert.match(moved.stderr, /^warning: running pods keep what they have, .* change of Network reaches/);
  assert.match(moved.stdout, /~ Network: 10\.244\.0\.0\/16 → 10\.245\.0\.0\/16\n/);
});
