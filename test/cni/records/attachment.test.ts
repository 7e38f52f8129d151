import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Attachment, Attachments } from '../../../src/cni/records/attachment.ts';

const RECORD: Attachment = {
  network: 'n',
  containerId: 'c',
  ifName: 'eth0',
  role: 'interface',
  state: 'adding',
  netns: '/run/netns/c',
  netnsId: 1,
  bootId: 'b',
  dir: '',
  addresses: [],
};

test('a record that a full disk does not take: the error says which file', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'flatnet-attachment-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const path = join(dir, 'attachments', 'n:c:eth0:interface.json');
  mkdirSync(join(dir, 'attachments'));
  symlinkSync('/dev/full', path);
  assert.throws(
    () => new Attachments(dir).write(RECORD),
    ({ code, errno, message }: { code: string; errno: string; message: string }) =>
      code === 'IO' && errno === 'ENOSPC' && message.includes(path),
  );
});
