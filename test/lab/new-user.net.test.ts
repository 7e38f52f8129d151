import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { NO_BIRD } from '../companions/bird/bird.ts';
import { CANNOT, flatnet, TestLab } from './host.ts';

type Pod = { readonly name: string; readonly addresses: readonly string[] };
type Status = { readonly pods: readonly Pod[]; readonly problems: readonly string[] };

const resource = (kind: string, name: string, spec: object) =>
  JSON.stringify({ apiVersion: 'projectcalico.org/v3', kind, metadata: { name }, spec });
const annotated = (name: string, value: string) => ({
  [`cni.projectcalico.org/${name}`]: JSON.stringify([value]),
});
const containers = [{ name: 'c', image: 'pause' }];

test('a new user’s first attempts: addresses by annotation, deleting a pool in use, a pool in the nodes’ network, a killed store', {
  skip: CANNOT || NO_BIRD,
  timeout: 300_000,
}, async (t) => {
  const lab = new TestLab(t, 'p');
  const folder = mkdtempSync(join(tmpdir(), 'flatnet-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const write = (text: string): string => {
    const file = join(folder, 'file.json');
    writeFileSync(file, text);
    return file;
  };
  const ofStore = (...words: string[]) => flatnet(...words, '--lab', lab.name);
  const applied = async (text: string): Promise<void> => {
    const { status, stderr } = await ofStore('apply', '-f', write(text));
    assert.equal(status, 0, stderr);
  };
  const problems = async (holds: (all: readonly string[]) => boolean): Promise<void> => {
    const deadline = performance.now() + 60_000;
    for (;;) {
      const { stdout } = await lab.run('status', '--json');
      const all = (JSON.parse(stdout) as Status).problems;
      if (holds(all)) return;
      assert.ok(performance.now() < deadline, all.join('\n'));
      await sleep(100);
    }
  };
  await lab.ok('up', '--nodes', '2', '--preset', 'calico-bgp');
  const pool = resource('IPPool', 'other', { cidr: '10.99.0.0/24' });

  await t.test('annotations reach CNI', async () => {
    const [[key, value] = ['', '']] = Object.entries(annotated('ipAddrs', '10.244.77.9'));
    const create = ['--annotation', `${key}=${value}`];
    assert.deepEqual((await lab.json<Pod>('pod', 'create', 'fixed', ...create)).addresses, ['10.244.77.9']);
    const taken = await lab.run('pod', 'create', 'late', ...create);
    assert.equal(taken.status, 1);
    assert.match(taken.stderr, /10\.244\.77\.9: is in use by default\/fixed/);

    await applied(pool);
    const annotations = annotated('ipv4pools', 'other');
    const labels = { app: 'web' };
    const deployment = {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'web' },
      spec: {
        replicas: 2,
        selector: { matchLabels: labels },
        template: { metadata: { labels, annotations }, spec: { containers } },
      },
    };
    const dns = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'dns', annotations: annotated('ipAddrs', '10.99.0.53') },
      spec: { containers },
    };
    // An agent that does not know the pool yet refuses; apply may then be repeated.
    const file = write(JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [deployment, dns] }));
    const deadline = performance.now() + 60_000;
    for (;;) {
      const { status, stderr } = await lab.run('apply', '-f', file);
      if (status === 0) break;
      assert.ok(/does not exist|is in no enabled pool/.test(stderr) && performance.now() < deadline, stderr);
    }
    const { pods } = await lab.json<Status>('status');
    const addresses = pods.filter(({ name }) => name !== 'fixed').map((each) => each.addresses[0] ?? '');
    assert.equal(addresses.length, 3);
    for (const each of addresses) assert.match(each, /^10\.99\.0\./);
    assert.ok(addresses.includes('10.99.0.53'));
  });

  await t.test('a pool that contains a node’s address is refused, and nothing is done', async () => {
    const wrong = resource('IPPool', 'wrong', { cidr: '172.30.0.0/20' });
    const good = resource('IPPool', 'good', { cidr: '10.98.0.0/24' });
    const both = `{"apiVersion":"v1","kind":"List","items":[${good},${wrong}]}`;
    const { status, stdout, stderr } = await ofStore('apply', '-f', write(both));
    assert.deepEqual([status, stdout], [2, '']);
    assert.match(
      stderr,
      /IPPool\/wrong: 172\.30\.0\.0\/20 holds 172\.30\.0\.1[12], the address of node node[12];/,
    );
    assert.equal((await ofStore('get', 'pool', 'good')).status, 1);
  });

  await t.test('a pool deleted while in use is reported until it is restored', async () => {
    const refused = await ofStore('delete', 'pool', 'other');
    assert.match(refused.stderr, /3 pod addresses are in 10\.99\.0\.0\/24; .* not masqueraded/);
    assert.equal((await ofStore('delete', 'pool', 'other', '--force')).status, 0);
    await problems((all) =>
      ['web', 'dns'].every((pod) => all.some((text) => text.includes(`default/${pod}`))),
    );
    await applied(pool);
    await problems((all) => all.length === 0);
  });

  await t.test('deleting a live node’s settings leaves the node alone', async () => {
    const settings = resource('Node', 'node1', { bgp: { asNumber: 64_512 } });
    await applied(settings);
    const { status, stdout } = await ofStore('delete', '-f', write(settings));
    assert.deepEqual([status, stdout], [0, 'Node/node1 deleted\n']);
    const { pods } = await lab.json<Status>('status');
    assert.equal(pods.length, 4);
    await problems((all) => all.length === 0);
  });

  await t.test('a killed store starts again with its data', async () => {
    const { pid } = JSON.parse(readFileSync(`/run/flatnet/labs/${lab.name}/store.pid`, 'utf8'));
    process.kill(pid, 'SIGKILL');
    const fix = `flatnet lab store start --lab ${lab.name}`;
    await problems((all) =>
      all.some((text) => text.startsWith('the store is not running') && text.endsWith(fix)),
    );
    for (let i = 0; i < 2; i++) await lab.ok('store', 'start');
    await problems((all) => all.length === 0);
    // Retried, as a runtime does: an agent may not have noticed yet that its connection is gone.
    const deadline = performance.now() + 60_000;
    for (;;) {
      const { status, stderr } = await lab.run('pod', 'create', 'after');
      if (status === 0) break;
      assert.ok(performance.now() < deadline, stderr);
    }
    await lab.ok('store', 'stop');
    await lab.ok('store', 'start');
    await problems((all) => all.length === 0);
    assert.match((await ofStore('ipam', 'check')).stdout, /found 0 errors/);
  });
});
