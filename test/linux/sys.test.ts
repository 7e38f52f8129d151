import assert from 'node:assert/strict';
import fs from 'node:fs';
import { constants } from 'node:os';
import { test } from 'node:test';
import { FlatnetError } from '../../src/error.ts';
import { errnoName, errnoText } from '../../src/linux/errno.ts';
import * as sys from '../../src/linux/sys.ts';

test('error numbers have their usual names and texts', () => {
  for (const [name, number] of Object.entries(constants.errno)) {
    const synonyms = { EWOULDBLOCK: 'EAGAIN', ENOTSUP: 'EOPNOTSUPP' } as Record<string, string>;
    assert.equal(errnoName(number), synonyms[name] ?? name);
  }
  assert.equal(errnoName(524), 'ENOTSUPP');
  assert.equal(errnoName(9999), 'E9999');
  assert.equal(errnoText(17), 'file already exists');
  assert.equal(errnoText(524), 'ENOTSUPP');
});

test('errors name the call, the object and the errno', () => {
  assert.throws(() => sys.mount('none', '/no/such/directory', 'none', sys.MS_BIND), {
    code: 'SYSCALL',
    operation: 'mount',
    object: '/no/such/directory',
    // EPERM if a container's seccomp filter forbids the call.
    errno: /^(ENOENT|EPERM)$/,
  });
  assert.throws(() => sys.getsockname(0xffff), { operation: 'getsockname', errno: 'EBADF' });
});

test('errno belongs to the call, even under garbage collection', () => {
  const garbage: unknown[] = [];
  const wrong = new Set<string>();
  for (let i = 0; i < 100_000; i++) {
    garbage.push(new Array(50).fill(i), `${i}`.repeat(10), Buffer.alloc(64));
    if (garbage.length > 3000) garbage.length = 0;
    try {
      sys.ioctl(-1, 0, Buffer.alloc(40));
    } catch (error) {
      if (!(error instanceof FlatnetError) || error.errno !== 'EBADF') wrong.add(String(error));
    }
  }
  assert.deepEqual([...wrong], []);
});

test('an in-memory file can be written and read, and is not inherited', () => {
  const fd = sys.memfdCreate('test');
  try {
    fs.writeSync(fd, 'hello');
    assert.equal(fs.readFileSync(`/proc/self/fd/${fd}`, 'utf8'), 'hello');
    assert.match(fs.readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'), /flags:\s*02/);
  } finally {
    fs.closeSync(fd);
  }
});

test('polling returns the readable descriptors, and times out if there are none', async () => {
  const AF_UNIX = 1;
  const SOCK_DGRAM = 2;
  const silent = sys.socket(AF_UNIX, SOCK_DGRAM | sys.SOCK_CLOEXEC, 0);
  const file = sys.memfdCreate('ready');
  try {
    assert.deepEqual(await sys.pollReadable([silent], 20), []);
    assert.deepEqual(await sys.pollReadable([silent, file], 1000), [file]);
    assert.equal(sys.recvfrom(silent, Buffer.alloc(10), sys.MSG_DONTWAIT), undefined);
  } finally {
    fs.closeSync(silent);
    fs.closeSync(file);
  }
});
