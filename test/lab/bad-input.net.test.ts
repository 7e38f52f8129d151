import assert from 'node:assert/strict';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { LabPaths } from '../../src/lab/record/paths.ts';
import { CANNOT, flatnet, type Result, TestLab, traces, weakened } from './host.ts';

/** Asserts one line on standard error that names the problem, and nothing on standard output. */
function refused(result: Result, status: number, message: RegExp): void {
  assert.equal(result.stdout, '');
  assert.match(result.stderr, message);
  assert.equal(result.stderr.trimEnd().split('\n').length, 1, result.stderr);
  assert.equal(result.status, status);
}

describe('usage errors', { skip: CANNOT }, () => {
  const lab = new TestLab({ after }, 'i');
  const file = `/tmp/${lab.name}.conf`;
  after(() => rmSync(file, { force: true }));

  const UP: [string[], RegExp][] = [
    [
      ['--backend', 'carrier-pigeon'],
      /--backend: unknown backend 'carrier-pigeon'; use one of vxlan, vxlan-md, geneve/,
    ],
    [['--network', '10.244.0.0'], /--network: '10\.244\.0\.0' is not a network; write address\/length/],
    [['--network', '10.0.0.0/8,10.1.0.0/16'], /--network: .*two networks of the same family/],
    [['--network', '10.244.0.0/29'], /Network.*too small/],
    [
      ['--network', '172.16.0.0/12'],
      /Network: 172\.16\.0\.0\/12 overlaps 172\.30\.0\.0\/16.*underlay.*; choose/,
    ],
    [['--network', 'fd77::/56'], /IPv6Network: fd77::\/56 overlaps/],
    [
      ['--network', '10.244.0.0/24', '--nodes', '4'],
      /Network: 10\.244\.0\.0\/24 has 3 subnets of \/26 for 4 nodes; choose a larger network/,
    ],
    [['--network', '127.0.0.0/8'], /Network: 127\.0\.0\.0\/8 overlaps .* reserved.*; choose/],
    [['--network', 'ff00::/8'], /IPv6Network: ff00::\/8 overlaps .* reserved/],
    [['--nodes', '0'], /--nodes.*whole number from 1 to 200/],
    [['--nodes', 'three'], /--nodes.*whole number from 1 to 200/],
    [['--subnets', '99'], /--subnets.*whole number from 1 to 16/],
    [['--colour'], /unknown option '--colour'/],
    [['--config', '/no/such/file'], /\/no\/such\/file: no such file/],
    [['--config', '/etc'], /\/etc: is a directory; name a file in it/],
    [['--config', file, '--network', '10.1.0.0/16'], /--network: .*both define.*use one of them/],
  ];
  for (const [args, message] of UP) {
    test(`up ${args.join(' ').replace(file, 'FILE')}`, async () => {
      refused(await lab.run('up', ...args), 2, message);
      assert.deepEqual(traces(lab.name).namespaces, []);
      assert.deepEqual(traces(lab.name).files, []);
    });
  }

  const FILES: [string, RegExp][] = [
    ['{"Network": "10.244.0.0/16", "SubnetLen": 15}', /SubnetLen|four subnets/],
    ['{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan", "VNI": "one"}}', /VNI/],
    [
      '{"Network": "10.244.0.0/16", "Backend": {"Type": "weave"}}',
      /Backend\.Type: unknown backend 'weave'; use one of/,
    ],
    ['Network: 172.16.0.0/12', /Network: 172\.16\.0\.0\/12 overlaps/],
    ['{"Network": ', /JSON|position|end/i],
    ['Network: [', /:1:\d+/],
    ['EnableIPv4: false', /no family is enabled/],
    ['{}', /Network: .*write it like 10\.244\.0\.0\/16/],
  ];
  for (const [text, message] of FILES) {
    test(`up --config with ${text}`, async () => {
      writeFileSync(file, text);
      const result = await lab.run('up', '--config', file);
      refused(result, 2, message);
      assert.ok(result.stderr.startsWith(`flatnet: ${file}`), result.stderr);
    });
  }

  test('names that are not DNS labels', async () => {
    refused(await flatnet('lab', 'up', '--name', 'My Lab'), 2, /lab name: 'My Lab' has 'M'.*as 'my-lab'/);
    refused(await flatnet('lab', 'down', '--name', '../x'), 2, /lab name: '\.\.\/x'/);
  });

  test('without root, or as root without its privileges', async () => {
    const nobody = ['--reuid=65534', '--clear-groups'];
    for (const args of [['up'], ['down'], ['status'], ['pod', 'list']]) {
      refused(
        await weakened(nobody, 'lab', ...args, '--name', lab.name),
        1,
        /which requires root; run this command as root/,
      );
    }
    const FIX =
      /root may not create (network namespaces|bridge devices) here: .*EPERM.*CAP_SYS_ADMIN and CAP_NET_ADMIN/;
    for (const right of ['sys_admin', 'net_admin']) {
      refused(await weakened([`--bounding-set=-${right}`], 'lab', 'up', '--name', lab.name), 1, FIX);
    }
    assert.equal(existsSync(new LabPaths(lab.name).root), false);
  });

  test('a lab that does not exist', async () => {
    for (const args of [
      ['status'],
      ['matrix'],
      ['pod', 'list'],
      ['node', 'stop', 'node1'],
      ['ping', 'a', 'b'],
    ]) {
      refused(await lab.run(...args), 1, /there is no lab '.*'; start it: flatnet lab up --lab/);
    }
  });

  test('with --json the error is an object', async () => {
    const { stderr, status } = await lab.run('status', '--json');
    assert.equal(status, 1);
    assert.equal(JSON.parse(stderr).error.code, 'LAB_MISSING');
  });

  test('help goes to standard output, with examples, and exits with 0', async () => {
    for (const args of [
      [],
      ['lab'],
      ['lab', 'up'],
      ['lab', 'pod', 'create'],
      ['lab', 'node', 'stop'],
      ['store', 'serve'],
    ]) {
      const { status, stdout, stderr } = await flatnet(...args, '--help');
      assert.deepEqual([status, stderr], [0, '']);
      assert.match(stdout, /^Usage: flatnet/);
    }
    assert.match((await flatnet('lab', 'up', '--help')).stdout, /Examples:\n {2}flatnet lab up/);
    refused(await flatnet('lab', 'fly'), 2, /unknown command 'fly'/);
  });
});

describe('wrong requests to a running lab', { skip: CANNOT }, () => {
  const lab = new TestLab({ after }, 'j');
  const file = `/tmp/${lab.name}.yaml`;
  after(() => rmSync(file, { force: true }));
  before(async () => {
    await lab.ok('up', '--nodes', '1');
    await lab.ok('pod', 'create', 'a');
  });

  const WRONG: [string[], number, RegExp][] = [
    [['pod', 'create', 'Web_1'], 2, /pod name: 'Web_1'.*as 'web-1'/],
    [['pod', 'create', 'Team/web'], 2, /namespace: 'Team'/],
    [['pod', 'create', 'b', '--node', 'node9'], 1, /there is no node 'node9'; the lab has node1/],
    [['pod', 'create', 'b', '--listen', '70000'], 2, /--listen.*whole number from 1 to 65535/],
    [['pod', 'create', 'b', '--label', 'app'], 2, /--label: 'app' is not a label; write it as app=web/],
    [['pod', 'create', 'b', '--label', 'a b=c'], 2, /--label: 'a b=c' is not a label/],
    [['ping', 'a', 'node1', '-4', '-6'], 2, /-4 -6: a ping uses one family; use one of them/],
    [['pod', 'delete', 'a', 'b'], 1, /there is no pod 'b' in namespace 'default'; the pods are default\/a/],
    [['exec', 'a'], 2, /missing required argument 'command'/],
    [['ping', 'a', 'nobody'], 1, /'nobody' is not a pod, a node or an address; use one of a, node1/],
    [['ping', '10.0.0.1', 'a'], 2, /10\.0\.0\.1: is only an address/],
    [['ping', 'a', 'node1', '-c', 'many'], 2, /--count.*whole number/],
    [['logs', 'nobody'], 1, /'nobody' is not a pod, a node or 'store'; use one of a, node1/],
    [['logs', 'a'], 1, /default\/a: the pod has no containers/],
    [['node', 'stop', 'node7'], 1, /there is no node 'node7'; it has node1/],
    [['node', 'stop', 'node1', '--kill', '--power'], 2, /--kill: --power already kills/],
    [['node', 'add', 'router'], 2, /node name: 'router' is reserved for the lab itself/],
    [['node', 'add', 'node1'], 1, /node 'node1' already exists/],
    [
      ['node', 'add', '--subnet', '3'],
      2,
      /--subnet: the underlay has no subnet 3; subnets are numbered from 0 to 0/,
    ],
    [['apply', '-f', '/no/such/file'], 2, /\/no\/such\/file: no such file/],
  ];
  for (const [args, status, message] of WRONG) {
    test(args.join(' '), async () => refused(await lab.run(...args), status, message));
  }

  test('apply does nothing if one document is wrong', async () => {
    writeFileSync(
      file,
      `apiVersion: v1
kind: Pod
metadata: { name: good }
spec: { containers: [ { name: c, image: pause } ] }
---
apiVersion: v1
kind: Service
metadata: { name: svc }
`,
    );
    refused(await lab.run('apply', '-f', file), 2, /document 2: kind: 'Service' is not supported in a lab/);
    const pods = await lab.json<{ name: string }[]>('pod', 'list');
    assert.deepEqual(
      pods.map(({ name }) => name),
      ['a'],
    );
  });

  test('apply does nothing if a pod cannot be placed', async () => {
    const pod = (name: string, spec: string): string =>
      `apiVersion: v1\nkind: Pod\nmetadata: { name: ${name} }\nspec: { ${spec}, containers: [ { name: c, image: pause } ] }\n---\n`;
    writeFileSync(file, pod('good', 'nodeName: node1') + pod('bad', 'nodeName: node8'));
    refused(await lab.run('apply', '-f', file), 1, /node: there is no node 'node8'; the lab has node1/);
    writeFileSync(file, pod('good', 'nodeName: node1') + pod('bad', 'nodeSelector: { disk: tape }'));
    refused(await lab.run('apply', '-f', file), 1, /no node has the labels that the nodeSelector requires/);
    assert.equal((await lab.json<unknown[]>('pod', 'list')).length, 1);
  });

  test('none of that changed the lab', async () => {
    const { problems } = await lab.json<{ problems: string[] }>('status');
    assert.deepEqual(problems, []);
    assert.deepEqual(traces(lab.name).namespaces.length, 4);
  });
});
