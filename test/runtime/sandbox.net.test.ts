import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createNetns, deleteNetns, netnsId } from '../../src/linux/netns.ts';
import { identify, isAlive, type ProcessId, waitForEnd } from '../../src/linux/process.ts';
import { type ContainerOptions, containerState, startContainer } from '../../src/runtime/container.ts';
import { createSandbox, destroySandbox, inSandbox } from '../../src/runtime/sandbox.ts';

const skip = process.geteuid?.() === 0 || process.env.CI ? false : 'needs root';

/** A sandbox with loopback up, removed after the test. */
async function sandbox(t: { after(work: () => void): void }, hostname = 'web') {
  const name = `sb${process.pid}-${hostname}`;
  const netns = createNetns(name);
  t.after(() => deleteNetns(name));
  const id = await createSandbox({ netns, hostname, env: {} });
  t.after(() => destroySandbox(id));
  const dir = mkdtempSync(join(tmpdir(), 'sandbox-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const run = (...argv: string[]): string => {
    const [file, args] = inSandbox(id, argv);
    return execFileSync(file, args, { encoding: 'utf8' });
  };
  run('ip', 'link', 'set', 'lo', 'up');
  const container = (containerName: string, script: string): ContainerOptions => ({
    name: containerName,
    argv: ['sh', '-c', script],
    env: { PATH: process.env.PATH ?? '' },
    cwd: '/',
    logFile: join(dir, `${containerName}.log`),
    exitFile: join(dir, `${containerName}.exit`),
  });
  const log = (containerName: string): string => readFileSync(join(dir, `${containerName}.log`), 'utf8');
  return { id, netns, run, container, log };
}

/** Timeout in milliseconds, for busy machines. */
const PATIENCE = 30_000;

async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + PATIENCE;
  while (!condition()) {
    assert.ok(performance.now() < deadline, what);
    await sleep(20);
  }
}

function children(id: ProcessId): string[] {
  const [file, args] = inSandbox(id, ['ps', '-eo', 'pid=,ppid=,stat=,comm=']);
  return execFileSync(file, args, { encoding: 'utf8' }).trim().split('\n');
}

test('a sandbox has its own namespaces, /proc and hostname', { skip }, async (t) => {
  const { id, netns, run } = await sandbox(t);
  assert.equal(netnsId(`/proc/${id.pid}/ns/net`), netnsId(netns));
  for (const kind of ['pid', 'mnt', 'uts', 'ipc']) {
    assert.notEqual(netnsId(`/proc/${id.pid}/ns/${kind}`), netnsId(`/proc/self/ns/${kind}`), kind);
  }
  assert.equal(run('hostname').trim(), 'web');
  assert.match(run('cat', '/proc/1/cmdline'), /^sleep/);
  assert.ok(
    run('ls', '/proc')
      .split('\n')
      .filter((name) => /^\d+$/.test(name)).length < 5,
  );
});

test('orphans are reaped', { skip }, async (t) => {
  const { id, container, run } = await sandbox(t);
  // The middle process ends at once: the pause process adopts its child, which becomes a zombie unless it is
  // reaped.
  await startContainer(id, container('orphan', '(sleep 3600 &) ; sleep 3600'));
  const find = () => children(id).find((line) => / 1 S\S* +sleep$/.test(line));
  await until(() => find() !== undefined, 'no orphan came to process 1');
  const [pid = ''] = find()?.trim().split(/ +/) ?? [];
  run('busybox', 'kill', pid);
  await until(() => !children(id).some((line) => line.trim().startsWith(`${pid} `)), 'its zombie stays');
});

test('containers share port space and loopback, and keep log, environment and status apart', {
  skip,
}, async (t) => {
  const { id, container, log } = await sandbox(t);
  // Its standard input stays open: at its end nc shuts the connection down, upon which c's could end unheard.
  await startContainer(id, container('a', 'echo from a; sleep 3600 | busybox nc -l -p 7777'));
  // In the sandbox's network: local port 7777, LISTEN.
  const listens = (table: string) =>
    /:1E61 \S+ 0A /.test(readFileSync(`/proc/${id.pid}/net/${table}`, 'utf8'));
  await until(() => listens('tcp') || listens('tcp6'), 'a does not listen');
  await startContainer(id, container('b', 'busybox nc -l -p 7777; exit 9'));
  const b = container('b', '');
  await until(() => containerState(id, b.exitFile).state === 'exited', 'b did not end');
  assert.deepEqual(containerState(id, b.exitFile), { state: 'exited', exitCode: 9 });
  assert.match(log('b'), /Address already in use/);
  assert.equal(log('a'), 'from a\n');
  await startContainer(id, {
    ...container('c', 'echo "$WHO $HOME" | busybox nc 127.0.0.1 7777'),
    env: { PATH: process.env.PATH ?? '', WHO: 'c' },
  });
  await until(() => log('a').includes('c \n'), 'a did not hear c over their loopback');
  assert.deepEqual(containerState(id, container('a', '').exitFile).state === 'stopped', false);
});

test('a container that cannot start reports the reason', { skip }, async (t) => {
  const { id, container } = await sandbox(t);
  await assert.rejects(
    startContainer(id, { ...container('x', 'true'), cwd: '/nowhere' }),
    /start container x: .*can't cd to \/nowhere/,
  );
  await startContainer(id, { ...container('y', ''), argv: ['/no/such/program'] });
  const { exitFile } = container('y', '');
  await until(() => containerState(id, exitFile).state === 'exited', 'y did not end');
  assert.deepEqual(containerState(id, exitFile), { state: 'exited', exitCode: 127 });
});

test('destroying a sandbox ends everything in it', { skip }, async (t) => {
  const { id, container } = await sandbox(t);
  await startContainer(id, container('a', 'trap "" TERM INT HUP; while :; do sleep 100; done'));
  await until(() => children(id).length >= 4, 'the container does not run');
  const pids = readFileSync(`/proc/${id.pid}/task/${id.pid}/children`, 'utf8').trim().split(' ').map(Number);
  const inside = pids.flatMap((pid) => identify(pid) ?? []);
  assert.ok(inside.length > 0);
  await destroySandbox(id);
  assert.equal(isAlive(id), false);
  for (const each of inside) assert.ok(await waitForEnd(each, PATIENCE));
  assert.deepEqual(containerState(id, container('a', '').exitFile), { state: 'stopped' });
});

test('a reused pid is not mistaken for the process', () => {
  const self = identify(process.pid);
  assert.ok(self && isAlive(self));
  assert.equal(isAlive({ ...self, startTime: self.startTime - 1 }), false);
  assert.equal(identify(2 ** 22 + 1), undefined);
});

test('a sandbox keeps no other namespace alive', { skip }, async (t) => {
  const name = `sb${process.pid}-other`;
  const other = createNetns(name);
  t.after(() => deleteNetns(name));
  const own = createNetns(`${name}-peer`);
  t.after(() => deleteNetns(`${name}-peer`));
  const peers = (): string => execFileSync('ip', ['-n', `${name}-peer`, 'link'], { encoding: 'utf8' });
  execFileSync('ip', [
    '-n',
    `${name}-peer`,
    'link',
    'add',
    'v0',
    'type',
    'veth',
    'peer',
    'v1',
    'netns',
    name,
  ]);
  await sandbox(t, 'holder');
  assert.ok(other !== own && /v0/.test(peers()));
  deleteNetns(name);
  // With its namespace the kernel removes v1, and with it v0. The sandbox has a copy of every mount of this
  // machine; each disappears when the file it is mounted on is unlinked.
  await until(() => !/v0/.test(peers()), 'the namespace still exists');
});
