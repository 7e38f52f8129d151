import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Lock, type LockOptions } from '../../src/linux/lock.ts';
import { kernelTest } from './sandbox.ts';

let count = 0;

function lockOf(t: TestContext): LockOptions & { readonly dir: string; readonly impostors: unknown[] } {
  const root = fs.mkdtempSync(join(tmpdir(), 'flatnet-lock-'));
  t.after(() => fs.rmSync(root, { recursive: true }));
  const dir = join(root, 'locks');
  const impostors: unknown[] = [];
  const former = `flatnet-test-${process.pid}-${count++}`;
  return { path: join(dir, 'x'), former, dir, impostors, onImpostor: (uid) => impostors.push(uid) };
}

/** Runs a script with a module in another process; resolves when it has printed something. */
async function run(t: TestContext, script: string, args: string[], uid = 0): Promise<ChildProcess> {
  const flags = ['--disable-warning=ExperimentalWarning', '--input-type=module-typescript', '-e', script];
  const child = spawn(process.execPath, [...flags, ...args], { uid, stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  assert.ok(child.stdout);
  await once(child.stdout, 'data');
  return child;
}

const IMPORT = `import { Lock } from ${JSON.stringify(import.meta.resolve('../../src/linux/lock.ts'))};`;

kernelTest('one holder at a time; the lock and its file go with the holder, however it ends', async (t) => {
  const options = lockOf(t);
  {
    using lock = await Lock.tryTake(options);
    assert.ok(lock);
    assert.equal(await Lock.tryTake(options), undefined);
    assert.deepEqual(
      [fs.statSync(options.dir).mode & 0o777, fs.statSync(options.path).mode & 0o777],
      [0o700, 0o600],
    );
  }
  assert.deepEqual(fs.readdirSync(options.dir), []);
  const script = `${IMPORT}
    const [path, former] = process.argv.slice(1);
    console.log(await Lock.tryTake({ path, former }) ? 'taken' : 'busy');
    setInterval(() => {}, 1000);`;
  const child = await run(t, script, [options.path, options.former]);
  assert.equal(await Lock.tryTake(options), undefined);
  child.kill('SIGKILL');
  await once(child, 'exit');
  using lock = await Lock.tryTake(options);
  assert.ok(lock);
});

kernelTest('processes that take and release it never hold it together', async (t) => {
  const options = lockOf(t);
  const counter = join(options.dir, '..', 'counter');
  fs.writeFileSync(counter, '0');
  const script = `${IMPORT}
    import { readFileSync, writeFileSync } from 'node:fs';
    import { setTimeout as sleep } from 'node:timers/promises';
    const [path, former, counter] = process.argv.slice(1);
    for (let done = 0; done < 100; ) {
      const lock = await Lock.tryTake({ path, former });
      if (!lock) { await sleep(1); continue; }
      const value = Number(readFileSync(counter, 'utf8'));
      await sleep(0);
      writeFileSync(counter, String(value + 1));
      lock[Symbol.dispose]();
      done++;
    }
    console.log('done');`;
  await Promise.all([0, 1, 2].map(() => run(t, script, [options.path, options.former, counter])));
  assert.equal(fs.readFileSync(counter, 'utf8'), '300');
});

/** Takes the abstract name as an earlier version did; `backlog`: never accepts. */
const TAKER = `import { createServer } from 'node:net';
  const [name] = process.argv.slice(1);
  createServer((socket) => socket.destroy()).listen('\\0' + name, () => console.log('taken'));`;

kernelTest('a process of an earlier version that holds the former lock is respected', async (t) => {
  const options = lockOf(t);
  const child = await run(t, TAKER, [options.former]);
  assert.equal(await Lock.tryTake(options), undefined);
  assert.deepEqual(fs.readdirSync(options.dir), []);
  child.kill();
  await once(child, 'exit');
  using lock = await Lock.tryTake(options);
  assert.ok(lock);
  // And an earlier version finds this one.
  const late = `import { createServer } from 'node:net';
    const server = createServer();
    server.on('error', ({ code }) => console.log(code)).listen('\\0' + process.argv[1], () => console.log('taken'));
    setInterval(() => {}, 1000);`;
  const flags = ['--input-type=module', '-e', late, options.former];
  const other = spawn(process.execPath, flags, { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => other.kill('SIGKILL'));
  const [text] = await once(other.stdout, 'data');
  assert.equal(String(text).trim(), 'EADDRINUSE');
});

kernelTest('a user who has taken the former lock keeps nobody out', async (t) => {
  const options = lockOf(t);
  await run(t, TAKER, [options.former], 65534);
  {
    using lock = await Lock.tryTake(options);
    assert.ok(lock);
    assert.equal(await Lock.tryTake(options), undefined);
  }
  assert.deepEqual(options.impostors, [65534]);
  // One that does not even answer.
  const silent = lockOf(t);
  const script = `import socket, sys, time
s = socket.socket(socket.AF_UNIX); s.bind('\\0' + sys.argv[1]); s.listen(0)
c = [socket.socket(socket.AF_UNIX) for _ in range(4)]
for x in c:
    x.setblocking(False)
    try: x.connect('\\0' + sys.argv[1])
    except BlockingIOError: pass
print('taken', flush=True); time.sleep(60)`;
  const child = spawn('python3', ['-c', script, silent.former], {
    uid: 65534,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  await sleep(10);
  using lock = await Lock.tryTake(silent);
  assert.ok(lock);
  assert.deepEqual(silent.impostors, [undefined]);
});

kernelTest('a folder or file that others may have prepared is refused', async (t) => {
  const options = lockOf(t);
  fs.mkdirSync(options.dir);
  fs.chmodSync(options.dir, 0o777);
  await assert.rejects(Lock.tryTake(options), {
    code: 'IO',
    object: options.dir,
    message: /others may write/,
  });
  fs.chmodSync(options.dir, 0o700);
  fs.chownSync(options.dir, 65534, 65534);
  await assert.rejects(Lock.tryTake(options), { code: 'IO', object: options.dir });
  fs.chownSync(options.dir, 0, 0);
  fs.symlinkSync('/tmp/elsewhere', options.path);
  await assert.rejects(Lock.tryTake(options), { code: 'IO', errno: 'ELOOP', object: options.path });
  fs.rmSync(options.path);
  fs.rmdirSync(options.dir);
  fs.writeFileSync(options.dir, '');
  await assert.rejects(Lock.tryTake(options), { code: 'IO', errno: 'EEXIST' });
});
