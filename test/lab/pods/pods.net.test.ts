import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { CANNOT, FLATNET, ip, TestLab } from '../host.ts';

type Pod = {
  namespace: string;
  name: string;
  node: string;
  phase: string;
  addresses: string[];
  labels: Record<string, string>;
  containers: { name: string; note: string; state: string; exitCode?: number }[];
};

const EXAMPLE = 'examples/pod-two-container.yaml';

describe('pods of one lab', { skip: CANNOT }, () => {
  const lab = new TestLab({ after }, 'p');
  const file = `/tmp/${lab.name}.yaml`;
  after(() => rmSync(file, { force: true }));
  before(async () => {
    await lab.ok('up', '--nodes', '2');
  });

  const pods = () => lab.json<Pod[]>('pod', 'list');
  const apply = (text: string): Promise<string> => {
    writeFileSync(file, text);
    return lab.ok('apply', '-f', file);
  };
  const manifest = (kind: string, name: string, spec: string): string => `
apiVersion: apps/v1
kind: ${kind}
metadata: { name: ${name}, namespace: team }
spec:${spec}
  selector: { matchLabels: { app: ${name} } }
  template:
    metadata: { labels: { app: ${name} } }
    spec: { containers: [ { name: c, image: busybox, command: [sleep, infinity] } ] }
`;

  test('a pod answers with its name and the client’s address, and leaves no trace', async () => {
    await lab.ok(
      'pod',
      'create',
      'web',
      '--listen',
      '80',
      '--listen',
      '8080',
      '--node',
      'node1',
      '--label',
      'app=web',
    );
    const made = await lab.json<Pod>('pod', 'create', 'client', '--node', 'node2');
    const [client, web] = await pods();
    assert.deepEqual([client?.name, client?.node, client?.phase], ['client', 'node2', 'Running']);
    assert.deepEqual(web?.labels, { app: 'web' });
    for (const port of [80, 8080]) {
      const url = `http://${web?.addresses[0]}:${port}/`;
      const text = await lab.ok('exec', 'client', '--', 'busybox', 'wget', '-qO-', url);
      assert.equal(text, `pod default/web on node1, container listen; you are ${made.addresses[0]}\n`);
    }
    const again = await lab.run('pod', 'create', 'web');
    assert.deepEqual([again.status, again.stdout], [1, '']);
    assert.match(
      again.stderr,
      /default\/web: a pod of this name already exists; choose another name, or delete/,
    );
    await lab.ok('pod', 'delete', 'web', 'client');
    assert.deepEqual(await pods(), []);
    assert.doesNotMatch(ip(`${lab.name}-node1`, 'link'), /veth/);
    assert.match(
      (await lab.run('exec', 'web', '--', 'true')).stderr,
      /there is no pod 'web' in namespace 'default'/,
    );
  });

  test('exec passes input, output, terminal and exit status through, including death by a signal', async () => {
    await lab.ok('pod', 'create', 'team-b/x');
    for (const status of [0, 1, 42]) {
      assert.equal((await lab.run('exec', 'team-b/x', '--', 'sh', '-c', `exit ${status}`)).status, status);
    }
    assert.equal(
      (await lab.run('exec', 'x', '-n', 'team-b', '--', 'sh', '-c', 'kill -9 $$')).status,
      128 + 9,
    );
    const cat = spawn(FLATNET, ['lab', 'exec', '--name', lab.name, 'team-b/x', '--', 'cat']);
    let output = '';
    cat.stdout.on('data', (chunk) => {
      output += chunk;
    });
    cat.stdin.end('through\n');
    const [status] = await once(cat, 'close');
    assert.deepEqual([status, output], [0, 'through\n']);
    assert.match(
      (await lab.run('exec', 'team-b/x', '-c', 'no', '--', 'true')).stderr,
      /has no container 'no'/,
    );
    const shell = spawn('script', [
      '-qec',
      `${FLATNET} lab exec --name ${lab.name} team-b/x -- sh -ic 'tty; echo "it'\\''s"; exit 5'`,
      '/dev/null',
    ]);
    let screen = '';
    shell.stdout.on('data', (chunk) => {
      screen += chunk;
    });
    assert.deepEqual(await once(shell, 'close'), [5, null], screen);
    assert.match(screen, /\/dev\/pts\/\d+\r\nit's\r\n/);
    await lab.ok('pod', 'delete', '-n', 'team-b', 'x');
  });

  test('a pod sees no namespace but its own, not even those created after it', async () => {
    await lab.ok('pod', 'create', 'first');
    await lab.ok('pod', 'create', 'second');
    const { status, stdout, stderr } = await lab.run('exec', 'first', '--', 'ip', 'address');
    assert.deepEqual([status, stderr], [0, '']);
    assert.match(stdout, /link-netnsid 0/);
    await lab.ok('pod', 'delete', 'first', 'second');
  });

  test('a pod whose pause process was killed is reported, and apply recreates it', async () => {
    const text =
      'apiVersion: v1\nkind: Pod\nmetadata: { name: p }\nspec: { containers: [ { name: c, image: nginx } ] }';
    await apply(text);
    const [pod] = await lab.json<{ sandbox: { pid: number } }[]>('pod', 'list');
    process.kill(pod?.sandbox.pid ?? 0, 'SIGKILL');
    const { status, stdout } = await lab.run('status');
    assert.equal(status, 1);
    assert.match(stdout, /pod default\/p: its pause process has ended: apply its manifest again/);
    assert.match(await apply(text), /pod\/p configured\n {2}- pod default\/p\n {2}\+ pod default\/p on /);
    await lab.ok('status');
    assert.equal(await apply(text), 'pod/p unchanged\n');
    await lab.ok('delete', '-f', file);
  });

  test('a container that cannot start reports the reason, and leaves no pod', async () => {
    writeFileSync(
      file,
      'apiVersion: v1\nkind: Pod\nmetadata: { name: p }\nspec: { containers: [ { name: c, image: nginx, workingDir: /no/such } ] }',
    );
    const { status, stderr } = await lab.run('apply', '-f', file);
    assert.equal(status, 1);
    assert.match(stderr, /start container c: .*cd.*\/no\/such/);
    assert.deepEqual(await pods(), []);
  });

  test('if two containers use the same port, one fails and reports the reason', async () => {
    const container = (name: string): string => `{ name: ${name}, image: nginx }`;
    await apply(`
apiVersion: v1
kind: Pod
metadata: { name: rivals }
spec: { containers: [ ${container('one')}, ${container('two')} ] }`);
    let states: string[] = [];
    for (let i = 0; i < 50 && !states.includes('exited'); i++) {
      await sleep(50);
      states = (await pods()).flatMap((pod) => pod.containers.map(({ state }) => state));
    }
    assert.deepEqual(states.sort(), ['exited', 'running']);
    const { status, stdout } = await lab.run('status');
    assert.equal(status, 1);
    const [, failed = ''] = stdout.match(/container (one|two) exited with 1/) ?? [];
    assert.match(await lab.ok('logs', 'rivals', '-c', failed), /Address already in use/);
    await lab.ok('delete', '-f', file);
  });

  test('the example: containers share a loopback, replicas are spread, and applying it again changes nothing', async () => {
    const first = await lab.ok('apply', '-f', EXAMPLE);
    assert.match(first, /^deployment\.apps\/duo created/);
    assert.match(first, /nginx: image nginx:1\.27 is not pulled: an HTTP server/);
    assert.match(
      first,
      /busybox: image busybox:1\.36 is not pulled: ran sh -c .* with this machine's busybox/,
    );
    const before = await pods();
    assert.deepEqual(before.map(({ node }) => node).sort(), ['node1', 'node1', 'node2']);
    assert.equal(await lab.ok('apply', '-f', EXAMPLE), 'deployment.apps/duo unchanged\n');
    assert.deepEqual(await pods(), before);
    const name = before[0]?.name ?? '';
    let log = '';
    for (let i = 0; i < 50 && !log; i++) {
      await sleep(50);
      log = await lab.ok('logs', name, '-c', 'busybox');
    }
    assert.match(
      log,
      new RegExp(`^pod default/${name} on .*, container nginx; you are (127\\.0\\.0\\.1|::1)`),
    );
    assert.match(await lab.ok('exec', name, '-c', 'busybox', '--', 'which', 'wget'), /\/busybox\/wget/);
    assert.equal(await lab.ok('exec', name, '--', 'sh', '-c', 'echo $CONTAINER_NAME'), 'nginx\n');
    await lab.ok('matrix');
    assert.match(await lab.ok('delete', '-f', EXAMPLE), /duo deleted/);
    assert.match(await lab.ok('delete', '-f', EXAMPLE), /duo absent/);
    assert.deepEqual(await pods(), []);
  });

  test('deployments scale, roll and follow the nodes; daemon sets run on every node', async () => {
    await apply(manifest('Deployment', 'web', '\n  replicas: 4'));
    const four = await pods();
    assert.equal(four.length, 4);
    assert.match(await apply(manifest('Deployment', 'web', '\n  replicas: 2')), /team\/web configured/);
    const two = await pods();
    assert.deepEqual(new Set(two.map(({ node }) => node)), new Set(['node1', 'node2']));
    assert.ok(
      two.every((pod) => four.some(({ name }) => name === pod.name)),
      'scaling down made new pods',
    );
    await apply(manifest('Deployment', 'web', '\n  replicas: 2').replace('infinity', "'1000'"));
    assert.ok(
      (await pods()).every((pod) => !four.some(({ name }) => name === pod.name)),
      'the template was not rolled out',
    );

    await apply(
      `${manifest('DaemonSet', 'agent', '')}---\napiVersion: v1\nkind: Namespace\nmetadata: { name: team }\n`,
    );
    const agents = async () =>
      (await pods()).filter(({ name }) => name.startsWith('agent')).map(({ node }) => node);
    assert.deepEqual(await agents(), ['node1', 'node2']);
    await lab.ok('node', 'add');
    assert.deepEqual(await agents(), ['node1', 'node2', 'node3']);
    await lab.ok('node', 'delete', 'node2');
    assert.deepEqual(await agents(), ['node1', 'node3']);
    assert.equal(
      (await pods()).filter(({ name }) => name.startsWith('web')).length,
      2,
      'a deployment lost a pod',
    );
    writeFileSync(file, 'apiVersion: v1\nkind: Namespace\nmetadata: { name: team }\n');
    await lab.ok('delete', '-f', file);
    assert.deepEqual(await pods(), []);
  });

  test('status shows exited containers and unknown images', async () => {
    const output = await apply(`
apiVersion: v1
kind: Pod
metadata: { name: odd }
spec:
  containers:
    - { name: ends, image: busybox, command: [sh, -c, 'echo $(POD_IP) $WHERE; exit 3'], env: [ { name: POD_IP, valueFrom: { fieldRef: { fieldPath: status.podIP } } }, { name: WHERE, value: on-$(NODE_NAME) } ] }
    - { name: unknown, image: example.org/sauce:1 }
`);
    assert.match(output, /unknown: image example\.org\/sauce:1 is not pulled, and its program is unknown/);
    let odd: Pod | undefined;
    for (let i = 0; i < 50 && odd?.containers[0]?.state !== 'exited'; i++) [odd] = await pods();
    assert.deepEqual(
      odd?.containers.map(({ state, exitCode }) => [state, exitCode]),
      [
        ['exited', 3],
        ['not started', undefined],
      ],
    );
    assert.equal(await lab.ok('logs', 'odd', '-c', 'ends'), `${odd?.addresses[0]} on-${odd?.node}\n`);
    const status = await lab.run('status');
    assert.equal(status.status, 1);
    assert.match(
      status.stdout,
      /! pod default\/odd: container ends exited with 3: flatnet lab logs default\/odd -c ends/,
    );
    await lab.ok('pod', 'delete', 'odd');
  });
});
