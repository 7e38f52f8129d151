import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ask } from '../../../src/agent/api/client.ts';
import { LIMITS, type Limits } from '../../../src/agent/api/connection.ts';
import { LocalApi } from '../../../src/agent/api/server.ts';
import type { Handlers } from '../../../src/companions/companion.ts';
import { FlatnetError } from '../../../src/error.ts';
import { SILENT } from '../../../src/log.ts';

function refusal(): FlatnetError {
  const parts = { operation: 'route replace', object: 'default', errno: 'EPERM', fix: 'be root' };
  return new FlatnetError('not permitted', { code: 'NETLINK', ...parts });
}

async function serve(t: TestContext, limits: Partial<Limits> = {}): Promise<string> {
  const dir = mkdtempSync(join(tmpdir(), 'flatnet-api-'));
  const path = join(dir, 'run', 'agent.sock');
  const handlers: Handlers = {
    echo: async ({ text }) => ({ text }),
    slow: async ({ text, ms }) => {
      await sleep(Number(ms));
      return { text };
    },
    refuse: async () => {
      throw new FlatnetError('no room', { code: 'OUT_OF_ADDRESSES', object: '10.0.0.0/30' });
    },
    forbid: async () => {
      throw refusal();
    },
    crash: async () => {
      throw new TypeError('x is undefined');
    },
  };
  const api = await LocalApi.listen(path, handlers, SILENT, { ...LIMITS, ...limits });
  t.after(async () => {
    await api[Symbol.asyncDispose]();
    rmSync(dir, { recursive: true });
  });
  return path;
}

/** Sends the bytes and returns the server's answer, as lines. */
function talk(path: string, bytes: string): Promise<string[]> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connect(path, () => socket.end(bytes));
    socket.on('data', (chunk) => {
      text += chunk;
    });
    socket.on('end', () => resolve(text.split('\n').filter(Boolean)));
    socket.on('error', reject);
  });
}

/** Resolves when the connection is closed, by whomever. */
function closing(socket: Socket): Promise<void> {
  socket.on('error', () => undefined);
  return new Promise((resolve) => socket.on('close', () => resolve()));
}

test('properties inherited by every object are not operations', async (t) => {
  const path = await serve(t);
  for (const op of ['constructor', 'toString', '__proto__', 'hasOwnProperty']) {
    const [line = ''] = await talk(path, JSON.stringify({ op }));
    assert.equal(JSON.parse(line).error?.code, 'USAGE', line);
  }
});

test('one line in, one line out; several on one connection; the last needs no newline', async (t) => {
  const path = await serve(t);
  assert.deepEqual(await ask(path, { op: 'echo', text: 'ä\n' }), { text: 'ä\n' });
  const lines = await talk(path, '{"op":"echo","text":1}\n{"op":"echo","text":2}');
  assert.deepEqual(lines.sort(), ['{"text":1}', '{"text":2}']);
});

test('a slow request does not delay another, and is still answered', async (t) => {
  const path = await serve(t);
  const slow = ask(path, { op: 'slow', ms: 300, text: 'slow' });
  const begin = performance.now();
  await ask(path, { op: 'echo' });
  assert.ok(performance.now() - begin < 250);
  assert.equal((await slow).text, 'slow');
});

test('a handler’s error and a malformed request are answered with a code', async (t) => {
  const path = await serve(t);
  await assert.rejects(ask(path, { op: 'refuse' }), { message: /10\.0\.0\.0\/30: no room/ });
  await assert.rejects(ask(path, { op: 'dance' }), { message: /use one of echo, slow, refuse/ });
  const [refused] = await talk(path, '{"op":"refuse"}\n');
  assert.equal(JSON.parse(refused ?? '').error.code, 'OUT_OF_ADDRESSES');
  for (const bytes of ['nonsense\n', '[]\n', 'null\n', '"x"\n', '{}\n']) {
    const [line] = await talk(path, bytes);
    assert.match(line ?? '', /^\{"error":\{"code":"(INTERNAL|USAGE)"/);
  }
});

test('a request beyond the limit is answered, even while the client is still writing', async (t) => {
  const path = await serve(t, { request: 100_000 });
  for (const size of [100_001, 10_000_000]) {
    const [line = '', ...more] = await talk(path, JSON.stringify({ op: 'echo', text: 'x'.repeat(size) }));
    assert.match(line, /"code":"USAGE".*the request is too large: more than the limit of 100000 bytes/);
    assert.deepEqual(more, []);
  }
  const text = 'x'.repeat(99_000);
  assert.deepEqual(await ask(path, { op: 'echo', text }), { text });
});

test('a client that writes and never reads is read no further, then disconnected', async (t) => {
  let handled = 0;
  const dir = mkdtempSync(join(tmpdir(), 'flatnet-api-'));
  const path = join(dir, 'agent.sock');
  const big = 'x'.repeat(100_000);
  const handlers: Handlers = {
    big: async () => {
      handled++;
      return { big };
    },
  };
  const limits = { ...LIMITS, answers: 300_000, patience: 300 };
  const api = await LocalApi.listen(path, handlers, SILENT, limits);
  t.after(async () => {
    await api[Symbol.asyncDispose]();
    rmSync(dir, { recursive: true });
  });
  const socket = connect(path).pause();
  const closed = closing(socket);
  socket.write('{"op":"big"}\n'.repeat(100_000));
  await sleep(1000);
  // What the kernel’s buffers hold, and what may be pending beyond that.
  assert.ok(handled < 200, `${handled} answers in memory`);
  // The client learns only now that the agent has hung up.
  socket.resume();
  await closed;
  assert.ok(handled < 200, `${handled} answers`);
});

test('a client that trickles its request, or sends none, is disconnected', async (t) => {
  const path = await serve(t, { patience: 200 });
  for (const bytes of ['', ' ', '{"op":"echo"}\n{']) {
    const socket = connect(path).resume();
    const begin = performance.now();
    const closed = closing(socket);
    socket.write(bytes);
    const trickle = setInterval(() => socket.write(bytes.slice(0, 1)), 20);
    await closed;
    clearInterval(trickle);
    assert.ok(performance.now() - begin < 2000);
  }
  assert.equal((await ask(path, { op: 'slow', ms: 700, text: 'late' })).text, 'late');
});

test('all clients together hold no more requests than the limit, and none for good', async (t) => {
  const path = await serve(t, { requests: 1_000_000, patience: 300 });
  const answers: string[] = [];
  const clients = Array.from({ length: 20 }, () => {
    const socket = connect(path);
    socket.setEncoding('utf8').on('data', (text: string) => void answers.push(text));
    socket.write(`{"op":"echo","text":"${'x'.repeat(100_000)}`);
    return closing(socket);
  });
  await sleep(100);
  assert.ok(answers.length >= 10, `${answers.length} of 20 refused`);
  for (const answer of answers) assert.match(answer, /too many requests at once/);
  await Promise.all(clients);
  const text = 'y'.repeat(900_000);
  assert.deepEqual(await ask(path, { op: 'echo', text }), { text });
});

test('only its owner may connect, and a dead agent’s socket is replaced', async (t) => {
  const path = await serve(t);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  const left = `${path}.left`;
  writeFileSync(left, '');
  const second = await LocalApi.listen(left, { echo: async () => ({}) }, SILENT);
  t.after(() => second[Symbol.asyncDispose]());
  assert.deepEqual(await ask(left, { op: 'echo' }), {});
});

test('no listener, or no answer in time, is AGENT_UNREACHABLE with the path', async (t) => {
  const path = await serve(t);
  await assert.rejects(ask(`${path}.none`, { op: 'echo' }), {
    code: 'AGENT_UNREACHABLE',
    object: `${path}.none`,
  });
  await assert.rejects(ask(path, { op: 'slow', ms: 5000 }, 100), {
    code: 'AGENT_UNREACHABLE',
    message: /no answer within 100 ms/,
  });
});

test('an error arrives with its code, operation, object, errno and fix, and its text exactly once', async (t) => {
  const path = await serve(t);
  const { message, code, operation, object, errno, fix } = refusal();
  await assert.rejects(ask(path, { op: 'forbid' }), {
    name: 'FlatnetError',
    ...{ message, code, operation, object, errno, fix },
  });
  await assert.rejects(ask(path, { op: 'refuse' }), { code: 'OUT_OF_ADDRESSES', object: '10.0.0.0/30' });
  await assert.rejects(ask(path, { op: 'dance' }), { code: 'USAGE', object: 'dance' });
});

test('an unknown error is INTERNAL, and so is a code of a later release', async (t) => {
  const path = await serve(t);
  await assert.rejects(ask(path, { op: 'crash' }), { code: 'INTERNAL', message: /x is undefined/ });
  const answers = [
    '{"error":{"code":"NO_SUCH_CODE","message":"of a later release"}}',
    '{"error":"of a later release"}',
    'of a later release',
  ];
  const strange = `${path}.strange`;
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('end', () => socket.end(`${answers.shift()}\n`)).resume();
  });
  await once(server.listen(strange), 'listening');
  t.after(() => server.close());
  while (answers.length > 0) {
    await assert.rejects(ask(strange, { op: 'echo' }), {
      name: 'FlatnetError',
      code: 'INTERNAL',
      message: /of a later release/,
    });
  }
});
