// A cluster of the earlier version, upgraded node by node under traffic: nothing is lost, and nothing of the
// old version is left.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { NO_BIRD } from '../companions/bird/bird.ts';
import { CANNOT, TestLab, traces } from '../lab/host.ts';
import { BEFORE, checkOut, NO_HISTORY, removeCheckOut } from './before.ts';
import { Ping, Stream } from './traffic.ts';

const skip = CANNOT || NO_HISTORY;
const NEW = resolve(import.meta.dirname, '../..');
const OUTSIDE = '172.30.255.1';
const NODES = [1, 2, 3];
const SLOW = Boolean(process.env.FLATNET_EMULATED);
/** For `skip`: a virtual machine is for what this kernel lacks, and each test takes long there. */
const ELSEWHERE = SLOW && 'needs no virtual machine';

type Pair = {
  readonly from: string;
  readonly to: string;
  readonly reached: boolean;
  readonly ownSource?: boolean;
};
type Pod = { readonly name: string; readonly node: string; readonly addresses: readonly string[] };
type Status = { readonly pods: readonly Pod[]; readonly problems: readonly string[] };

const NO_IPIP = await run(
  'unshare',
  '--net',
  'ip',
  'link',
  'add',
  'probe',
  'type',
  'ipip',
  'local',
  '127.0.0.1',
).then(
  () => false as const,
  () => 'this kernel lacks IPIP: FLATNET_VM_SECONDS=3600 scripts/vm scripts/upgrade-test',
);

describe(`upgraded from ${BEFORE} under traffic`, { skip, timeout: SLOW ? 3_500_000 : 400_000 }, () => {
  const dir = mkdtempSync(join(tmpdir(), 'flatnet-upgrade-'));
  const old = join(dir, 'old');
  before(() => checkOut(old));
  after(() => removeCheckOut(dir));

  test('bridges and VXLAN', { skip: ELSEWHERE }, (t) => upgrade(t, 'v', []));
  test('routed pods, blocks and BGP', { skip: ELSEWHERE || NO_BIRD }, (t) =>
    upgrade(t, 'b', ['--preset', 'calico-bgp']),
  );
  test('routed pods in IPIP', { skip: NO_BIRD || NO_IPIP }, (t) => upgrade(t, 'i', ['--preset', 'calico']));

  async function upgrade(t: TestContext, suffix: string, preset: readonly string[]): Promise<void> {
    const lab = new TestLab(t, suffix);
    const netns = (pod: string): string => `${lab.name}.default.${pod}`;
    const oldLab = (...args: string[]): Promise<string> =>
      run(join(old, 'bin/flatnet'), 'lab', ...args, '--name', lab.name);
    const status = async (): Promise<Status> => JSON.parse((await lab.run('status', '--json')).stdout);
    const addressOf = async (pod: string): Promise<string> =>
      (await status()).pods.find(({ name }) => name === pod)?.addresses[0] ?? '';

    // One after another: together, the earlier version's agents are slower than its patience if emulated.
    await oldLab('up', '--nodes', '1', ...preset);
    for (const _ of NODES.slice(1)) await oldLab('node', 'add');
    for (const n of NODES) await oldLab('pod', 'create', `old${n}`, '--node', `node${n}`);
    await oldLab('pod', 'create', 'gone-early', '--node', 'node1');
    const address = new Map<string, string>();
    for (const n of NODES) address.set(`old${n}`, await addressOf(`old${n}`));
    await eventually(async () => assert.deepEqual(await failures(lab), []));

    const pings: Ping[] = [];
    t.after(() => Promise.all(pings.map((ping) => ping.stop())));
    const ping = (from: string, to: string, ip = address.get(to) ?? to): void => {
      const where = from.startsWith('node') ? `${lab.name}-${from}` : netns(from);
      pings.push(new Ping(where, from, to, ip));
    };
    for (const [from, to] of [
      [1, 2],
      [2, 1],
      [2, 3],
      [3, 2],
      [1, 3],
      [3, 1],
    ])
      ping(`old${from}`, `old${to}`);
    for (const n of NODES) {
      ping(`old${n}`, OUTSIDE);
      ping(`node${n}`, `old${n}`);
      ping(`node${n}`, `old${(n % 3) + 1}`);
    }
    const stream = await Stream.open(netns('old1'), netns('old2'), address.get('old2') ?? '');
    await sleep(500);

    /** Creates a pod with the executable of one version, regardless of the agent's version. */
    const create = async (version: string, pod: string, node: number): Promise<void> => {
      await withPlugin(lab, `node${node}`, join(version, 'dist'), () =>
        lab.ok('pod', 'create', pod, '--node', `node${node}`),
      );
    };
    for (const n of NODES) {
      await create(NEW, `new-plugin-old-agent${n}`, n);
      await lab.ok('node', 'restart', `node${n}`);
      await create(old, `old-plugin-new-agent${n}`, n);
      await create(NEW, `new${n}`, n);
      if (n === 1) await lab.ok('pod', 'delete', 'gone-early');
      await eventually(async () => assert.deepEqual(await failures(lab), []));
    }
    await lab.ok('store', 'stop');
    await lab.ok('store', 'start');
    await eventually(async () => assert.deepEqual((await status()).problems, []));
    await create(NEW, 'last', 1);
    await eventually(async () => assert.deepEqual(await failures(lab), []));

    const { sent, back, longest } = await stream.stop();
    await Promise.all(pings.map((each) => each.stop()));
    const lost = pings.filter((each) => each.lost.length).map((each) => `${each.name}: ${each.lost}`);
    const slowest = Math.min(...pings.map((each) => each.received));
    t.diagnostic(
      `${pings.length} pings of at least ${slowest} packets; TCP ${back}/${sent}, longest silence ${longest.toFixed()} ms`,
    );
    assert.deepEqual(lost, []);
    assert.ok(slowest > 100, `only ${slowest} packets`);
    assert.equal(back, sent);
    assert.ok(longest < 1000, `the stream was silent for ${longest} ms`);

    for (const n of NODES) await nothingOld(lab, `node${n}`);
    for (const { name } of (await status()).pods) await lab.ok('pod', 'delete', name);
    for (const n of NODES) await nothingOfPods(lab, `node${n}`);
    await lab.ok('down');
    const { namespaces, processes, links } = traces(lab.name);
    assert.deepEqual([...namespaces, ...processes, ...links], []);
  }
});

async function failures(lab: TestLab): Promise<string[]> {
  const { stdout, stderr } = await lab.run('matrix', '--json');
  assert.notEqual(stdout, '', stderr);
  const pairs: Pair[] = JSON.parse(stdout);
  assert.ok(pairs.length > 0);
  return pairs.filter((pair) => !pair.reached || !pair.ownSource).map(({ from, to }) => `${from} -> ${to}`);
}

/** Runs the work with the node's CNI executables replaced by those of another build, then restores them. */
async function withPlugin(
  lab: TestLab,
  node: string,
  dist: string,
  work: () => Promise<unknown>,
): Promise<void> {
  const bin = join('/run/flatnet/labs', lab.name, 'nodes', node, 'cni-bin');
  const [kept, names] = [`${bin}.kept`, readdirSync(dist)];
  await run('cp', '-a', bin, kept);
  for (const name of ['flatnet', 'loopback', ...names]) rmSync(join(bin, name), { force: true });
  for (const name of ['flatnet', 'loopback']) symlinkSync(join(dist, 'flatnet-cni'), join(bin, name));
  try {
    await work();
  } finally {
    rmSync(bin, { recursive: true });
    await run('mv', kept, bin);
  }
}

/** Asserts that no names are left that only the earlier version used. */
async function nothingOld(lab: TestLab, node: string): Promise<void> {
  const tables = await run('ip', 'netns', 'exec', `${lab.name}-${node}`, 'nft', 'list', 'tables');
  const names = tables
    .trim()
    .split('\n')
    .map((line) => line.split(' ')[2] ?? '');
  assert.deepEqual(
    names.filter((name) => name === 'flatnet'),
    [],
    tables,
  );
  assert.ok(
    names.some((name) => name.startsWith('flatnet-')),
    tables,
  );
  const root = join('/run/flatnet/labs', lab.name, 'nodes', node);
  const temporary = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.new'),
  );
  assert.deepEqual(temporary, []);
  assert.deepEqual(readdirSync(join(root, 'cni-bin')).sort(), [
    'flatnet',
    'flatnet-fallback',
    'flatnet.json',
    'loopback',
  ]);
}

/** Asserts that no links, records or reservations of pods are left. */
async function nothingOfPods(lab: TestLab, node: string): Promise<void> {
  await eventually(async () => {
    const links = JSON.parse(await run('ip', '-j', '-n', `${lab.name}-${node}`, 'link')) as {
      ifname: string;
    }[];
    const cables = links.map(({ ifname }) => ifname).filter((name) => /^(veth|cali)/.test(name));
    assert.deepEqual(cables, []);
    const rules = await run('ip', 'netns', 'exec', `${lab.name}-${node}`, 'nft', 'list', 'ruleset');
    assert.doesNotMatch(rules, /veth|cali[0-9a-f]/);
    const root = join('/run/flatnet/labs', lab.name, 'nodes', node);
    for (const folder of ['cni-data', 'state'].map((name) => join(root, name)).filter(existsSync)) {
      const files = readdirSync(folder, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map(({ name }) => name);
      assert.deepEqual(
        files.filter((name) => /^\d+\.|-eth0$|:eth0:/.test(name)),
        [],
      );
    }
  });
}

async function eventually(holds: () => Promise<void>): Promise<void> {
  for (const deadline = performance.now() + 60_000; ; await sleep(200)) {
    try {
      return await holds();
    } catch (error) {
      if (performance.now() > deadline) throw error;
    }
  }
}

async function run(file: string, ...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(file, args, {
    maxBuffer: 1 << 26,
    timeout: SLOW ? 600_000 : 120_000,
  });
  return stdout;
}
