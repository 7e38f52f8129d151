import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { passDescriptors, takeDescriptors } from '../../src/linux/descriptors.ts';
import * as sys from '../../src/linux/sys.ts';

const AF_UNIX = 1;
const SOCK_DGRAM = 2;

function boundSocket(path: string): readonly [fd: number, address: Buffer] {
  const address = Buffer.from(`\u0001\0${path}\0`, 'latin1');
  const fd = sys.socket(AF_UNIX, SOCK_DGRAM | sys.SOCK_NONBLOCK | sys.SOCK_CLOEXEC, 0);
  sys.bind(fd, address);
  return [fd, address];
}

test('open files pass from one socket to another, with a text', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'descriptors-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const [from] = boundSocket(join(folder, 'from'));
  const [to, address] = boundSocket(join(folder, 'to'));
  const files = ['a', 'b', 'c'].map((name) => {
    writeFileSync(join(folder, name), name);
    return openSync(join(folder, name), 'r');
  });
  assert.equal(takeDescriptors(to), undefined);
  passDescriptors(from, address, { text: 'abc', fds: files });
  for (const fd of files) closeSync(fd);
  sys.sendto(from, Buffer.from('none'), 0, address);
  const passed = takeDescriptors(to);
  assert.equal(passed?.text, 'abc');
  assert.deepEqual(
    passed.fds.map((fd) => readFileSync(fd, 'utf8')),
    ['a', 'b', 'c'],
  );
  assert.deepEqual(takeDescriptors(to), { text: 'none', fds: [] });
  for (const fd of [to, ...passed.fds]) closeSync(fd);
  assert.throws(() => passDescriptors(from, address, { text: 'abc', fds: [1] }), { code: 'SYSCALL' });
  closeSync(from);
});
