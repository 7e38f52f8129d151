import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { messageOf } from '../../src/error.ts';
import { linkAdd } from '../../src/linux/link/change.ts';
import { linkDump } from '../../src/linux/link/link.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../src/linux/netlink/socket.ts';
import {
  createNetns,
  deleteNetns,
  listNetns,
  netnsId,
  netnsPath,
  openNetns,
  withNetns,
} from '../../src/linux/netns.ts';
import { readSysctl, writeSysctl } from '../../src/linux/sysctl.ts';
import { kernelTest, sandbox } from './sandbox.ts';

/** Namespaces of all threads of a process. */
function threadNamespaces(pid: number | 'self' = 'self'): number[] {
  return fs.readdirSync(`/proc/${pid}/task`).map((tid) => netnsId(`/proc/${pid}/task/${tid}/ns/net`));
}

kernelTest('a namespace can be created, listed, used by ip and deleted', (t) => {
  const name = `linux-${process.pid}-made`;
  t.after(() => deleteNetns(name));
  assert.equal(createNetns(name), netnsPath(name));
  assert.ok(listNetns().includes(name));
  assert.equal(
    withNetns(netnsPath(name), () => netnsId()),
    netnsId(netnsPath(name)),
  );
  assert.notEqual(netnsId(netnsPath(name)), netnsId());
  assert.match(execFileSync('ip', ['netns', 'exec', name, 'ip', 'link'], { encoding: 'utf8' }), /lo/);
  assert.throws(() => createNetns(name), { code: 'NAME_TAKEN' });
  deleteNetns(name);
  assert.ok(!listNetns().includes(name));
  deleteNetns(name);
  assert.throws(() => openNetns(netnsPath(name)), { code: 'NOT_FOUND', object: netnsPath(name) });
});

kernelTest('the leftovers of an interrupted creation can be deleted', () => {
  const name = `linux-${process.pid}-half`;
  fs.writeFileSync(netnsPath(name), '');
  deleteNetns(name);
  assert.ok(!listNetns().includes(name));
});

kernelTest('a namespace is visible to processes in another mount namespace', async (t) => {
  createNetns(`linux-${process.pid}-first`);
  t.after(() => deleteNetns(`linux-${process.pid}-first`));
  const child = spawn('unshare', [
    '--mount',
    '--propagation',
    'slave',
    'sh',
    '-c',
    'echo ready; read line; stat -Lc %i "$line"',
  ]);
  t.after(() => child.kill());
  let output = '';
  child.stdout.on('data', (chunk) => {
    output += chunk;
  });
  await once(child.stdout, 'data');
  const { netns } = sandbox(t);
  child.stdin.end(`${netns}\n`);
  await once(child, 'close');
  assert.equal(Number(output.split('\n')[1]), netnsId(netns));
});

kernelTest('no thread stays in a foreign namespace, not even when the pool is first used inside', () => {
  const script = `
    import fs from 'node:fs';
    import { withNetns, netnsId } from ${JSON.stringify(import.meta.resolve('../../src/linux/netns.ts'))};
    const own = netnsId();
    const inside = withNetns(process.argv[1], () => {
      for (let i = 0; i < 20; i++) fs.stat('/', () => {});
      return netnsId();
    });
    const all = fs.readdirSync('/proc/self/task').map((tid) => fs.statSync('/proc/self/task/' + tid + '/ns/net').ino);
    console.log(JSON.stringify({ moved: inside !== own, threads: all.length, strays: all.filter((id) => id !== own).length }));
  `;
  const name = `linux-${process.pid}-pool`;
  const path = createNetns(name);
  try {
    const output = execFileSync(process.execPath, ['--input-type=module', '-e', script, path], {
      encoding: 'utf8',
    });
    const { moved, threads, strays } = JSON.parse(output);
    assert.equal(moved, true);
    assert.equal(strays, 0);
    assert.ok(threads > 4, `${threads} threads`);
  } finally {
    deleteNetns(name);
  }
});

kernelTest('the thread returns after an error, after a promise, and from nested namespaces', (t) => {
  const { netns } = sandbox(t);
  const other = sandbox(t).netns;
  const own = netnsId();
  assert.throws(
    () =>
      withNetns(netns, () => {
        throw new Error('inside');
      }),
    /inside/,
  );
  assert.equal(netnsId(), own);
  assert.throws(
    // @ts-expect-error a callback must not return a promise
    () => withNetns(netns, async () => netnsId()),
    { code: 'INTERNAL' },
  );
  assert.equal(netnsId(), own);
  const nested = withNetns(netns, () => withNetns(other, () => netnsId()));
  assert.equal(nested, netnsId(other));
  assert.equal(netnsId(), own);
  assert.throws(() => withNetns('/proc/self/ns/mnt', () => 0), {
    code: 'IO',
    operation: 'netns open',
    message: /not a network namespace/,
  });
  assert.ok(threadNamespaces().every((id) => id === own));
});

kernelTest('whatever else is at a path is refused at once', (t) => {
  const dir = fs.mkdtempSync(join(tmpdir(), 'flatnet-netns-'));
  t.after(() => fs.rmSync(dir, { recursive: true }));
  const at = (name: string) => join(dir, name);
  execFileSync('mkfifo', [at('fifo')]);
  execFileSync('mknod', [at('device'), 'c', '1', '7']);
  fs.writeFileSync(at('file'), '');
  fs.mkdirSync(at('folder'));
  fs.symlinkSync(at('loop'), at('loop'));
  fs.symlinkSync(at('fifo'), at('to-fifo'));
  for (const name of ['fifo', 'to-fifo', 'device', 'file', 'folder'])
    assert.throws(() => openNetns(at(name)), { code: 'IO', message: /not a network namespace/ }, name);
  assert.throws(() => openNetns(at('loop')), { code: 'IO', message: /ELOOP/ });
  for (const kind of ['mnt', 'pid', 'uts', 'user'])
    assert.throws(() => openNetns(`/proc/self/ns/${kind}`), { message: /not a network namespace/ }, kind);
});

kernelTest('a process that cannot return to its namespace aborts and says so', (t) => {
  const { netns } = sandbox(t);
  const script = `
    import fs from 'node:fs';
    import { withNetns } from ${JSON.stringify(import.meta.resolve('../../src/linux/netns.ts'))};
    const target = fs.openSync(process.argv[1], 'r');
    withNetns(target, () => {
      for (const fd of fs.readdirSync('/proc/self/fd').map(Number)) {
        if (fd > target) try { fs.closeSync(fd); } catch {}
      }
    });
    console.log('still here');
  `;
  let failure: unknown;
  try {
    execFileSync(
      'sh',
      ['-c', 'ulimit -c 0; exec "$@"', 'sh', process.execPath, '--input-type=module', '-e', script, netns],
      {
        encoding: 'utf8',
        stdio: 'pipe',
        cwd: '/tmp',
      },
    );
  } catch (error) {
    failure = error;
  }
  assert.match(
    messageOf(failure),
    /cannot return to the original network namespace: setns: bad file descriptor/,
  );
});

kernelTest('sockets stay in their namespace, programs started inside run there', (t) => {
  const { netns } = sandbox(t);
  const socket = withNetns(netns, () => NetlinkSocket.open(NETLINK_ROUTE));
  socket.executeSync(linkAdd({ name: 'here', data: { kind: 'bridge' } }));
  assert.deepEqual(
    socket.dumpSync(linkDump()).map(({ name }) => name),
    ['lo', 'here'],
  );
  socket.close();
  const output = withNetns(netns, () => execFileSync('ip', ['-br', 'link'], { encoding: 'utf8' }));
  assert.match(output, /here/);
});

kernelTest('worker threads may enter namespaces too', async (t) => {
  const { netns } = sandbox(t);
  const script = `
    const { parentPort, workerData } = require('node:worker_threads');
    import(workerData.module).then(({ withNetns, netnsId }) => {
      parentPort.postMessage([withNetns(workerData.netns, () => netnsId()), netnsId()]);
    });
  `;
  const module = import.meta.resolve('../../src/linux/netns.ts');
  const worker = new Worker(script, { eval: true, workerData: { module, netns } });
  const [inside, after] = (await once(worker, 'message'))[0];
  await worker.terminate();
  assert.deepEqual([inside, after], [netnsId(netns), netnsId()]);
});

kernelTest('a thousand sockets and visited namespaces leak no descriptor', (t) => {
  const { netns } = sandbox(t);
  const count = (): number => fs.readdirSync('/proc/self/fd').length;
  const before = count();
  for (let i = 0; i < 1000; i++) {
    NetlinkSocket.open(NETLINK_ROUTE, { netns }).close();
    assert.throws(() => NetlinkSocket.open(NETLINK_ROUTE, { netns, groups: [4242] }), { code: 'SYSCALL' });
  }
  assert.equal(count(), before);
});

kernelTest('sysctls are those of the namespace, even of devices with dots in their names', (t) => {
  const { netns } = sandbox(t);
  using socket = NetlinkSocket.open(NETLINK_ROUTE, { netns });
  socket.executeSync(linkAdd({ name: 'flannel.1', data: { kind: 'bridge' } }));
  const path = 'net/ipv4/conf/flannel.1/forwarding';
  withNetns(netns, () => writeSysctl(path, 1));
  assert.equal(
    withNetns(netns, () => readSysctl(path)),
    '1',
  );
  withNetns(netns, () => writeSysctl(path, '0'));
  assert.equal(
    withNetns(netns, () => readSysctl(path)),
    '0',
  );
  assert.throws(() => readSysctl(path), { code: 'NOT_FOUND', object: path, errno: 'ENOENT' });
  assert.throws(() => withNetns(netns, () => writeSysctl('net/ipv6/conf/all/forwarding', 'x')), {
    code: 'IO',
    errno: 'EINVAL',
  });
  for (const bad of ['../etc/passwd', 'net/../../etc/passwd', '/net/ipv4', 'net', 'net//x']) {
    assert.throws(() => readSysctl(bad), { code: 'INTERNAL' }, bad);
  }
});
