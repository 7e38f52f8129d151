import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { BirdFiles } from '../../../../src/companions/bird/daemon/files.ts';
import { HeldBird } from '../../../../src/companions/bird/daemon/held.ts';
import { dismissBird } from '../../../../src/companions/bird/daemon/process.ts';

const GREETING = '0001 BIRD 2.0.12 ready.\n';

function filesOf(t: TestContext): BirdFiles {
  const folder = mkdtempSync(join(tmpdir(), `flatnet-dismissal-${process.pid}-`));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return new BirdFiles(folder);
}

async function listen(t: TestContext, path: string, serve: (socket: Socket) => void): Promise<void> {
  const server = createServer({ allowHalfOpen: true }, serve).listen(path);
  await once(server, 'listening');
  t.after(() => server.close());
}

test('there is no other BIRD only where nothing listens', async (t) => {
  const files = filesOf(t);
  assert.equal(await dismissBird(files, 100), false);
  let isBusy = true;
  let stays = true;
  await listen(t, files.socket, (socket) => {
    if (!isBusy) socket.write(GREETING);
    socket.on('error', () => {});
    socket.on('end', () => socket.end());
    socket.on('data', () => {
      if (!stays) socket.end();
    });
  });
  await assert.rejects(dismissBird(files, 100), { code: 'BIRD', message: /no answer within 100 ms/ });
  isBusy = false;
  await assert.rejects(dismissBird(files, 100), { code: 'BIRD', message: /does not leave within 100 ms/ });
  stays = false;
  assert.equal(await dismissBird(files, 100), true);
});

test('a holder’s BIRD has ended only if the holder says so, or is not there', async (t) => {
  const files = filesOf(t);
  const path = join(files.folder, 'holder.sock');
  const held = new HeldBird(files, path);
  assert.equal(await held.runs(), false);
  await held.kill();
  let answer = '';
  await listen(t, path, (socket) => {
    socket.resume();
    socket.end(answer);
  });
  await assert.rejects(held.runs(), { code: 'BIRD', message: /no answer/ });
  await assert.rejects(held.kill(), { code: 'BIRD', message: /no answer/ });
  answer = 'unknown request';
  await assert.rejects(held.runs(), /unknown request/);
  for (const [word, runs] of [
    ['runs', true],
    ['ended', false],
  ] as const) {
    answer = word;
    assert.equal(await held.runs(), runs);
  }
});
