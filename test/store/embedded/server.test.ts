import assert from 'node:assert/strict';
import { existsSync, readdirSync, rmSync, statSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { SILENT } from '../../../src/log.ts';
import { openDatabase } from '../../../src/store/embedded/database.ts';
import { Machine } from '../../../src/store/embedded/machine.ts';
import { serveEmbedded } from '../../../src/store/embedded/serve.ts';
import { EtcdKv } from '../../../src/store/kv/client.ts';
import { Transport } from '../../../src/store/kv/transport.ts';
import { eventually, startEmbedded, startEmbeddedProcess, temporaryFolder } from '../servers.ts';

function client(t: TestContext, endpoint: string): EtcdKv {
  const kv = new EtcdKv({ endpoints: [endpoint], timeout: 2_000 });
  t.after(() => kv.close());
  return kv;
}

test('killed at any moment, it keeps every acknowledged write and no partial transaction', async (t) => {
  const server = await startEmbeddedProcess();
  t.after(() => server.stop());
  const kv = client(t, server.endpoint);
  let acknowledged = 0;
  let revision = 0;
  for (let round = 0; round < 4; round++) {
    let killed: Promise<void> | undefined;
    try {
      for (let i = acknowledged + 1; ; i++) {
        const pair = ['/a', '/b'].map((key) => ({ op: 'put', key, value: String(i) }) as const);
        revision = (await kv.txn({ compare: [], success: pair })).revision;
        acknowledged = i;
        // Starts counting at the first answer, so that even a slow machine has written something.
        killed ??= sleep(Math.random() * 200).then(() => server.kill('SIGKILL'));
      }
    } catch (error) {
      assert.equal((error as { code?: string }).code, 'STORE_UNAVAILABLE');
    }
    await killed;
    await server.restart();
    const [a, b] = await Promise.all([kv.get('/a'), kv.get('/b')]);
    // The write whose answer was lost may be there too.
    assert.ok(
      [acknowledged, acknowledged + 1].includes(Number(a?.value)),
      `${a?.value} after ${acknowledged}`,
    );
    assert.equal(a?.value, b?.value);
    assert.ok((a?.modRevision ?? 0) >= revision);
    acknowledged = Number(a?.value);
  }
});

test('leases survive a restart with their full TTL', async (t) => {
  const server = await startEmbeddedProcess();
  t.after(() => server.stop());
  const kv = client(t, server.endpoint);
  const { id } = await kv.grant(3);
  await kv.put('/a', 'x', { lease: id });
  await sleep(1_500);
  await server.kill('SIGKILL');
  await sleep(2_500);
  await server.restart();
  assert.ok((await kv.timeToLive(id)) >= 1);
  await sleep(2_000);
  assert.ok(await kv.get('/a'), 'counted from the restart');
  await eventually(async () => (await kv.get('/a')) === undefined, 3_000);
});

test('time during which the server was stopped does not count', async (t) => {
  const server = await startEmbeddedProcess();
  t.after(() => server.stop());
  const kv = client(t, server.endpoint);
  const { id } = await kv.grant(3);
  server.process.kill('SIGSTOP');
  await sleep(4_000);
  server.process.kill('SIGCONT');
  assert.equal(await kv.keepAlive(id), 3);
});

test('a second server on the same file or address is rejected; a stale socket is replaced', async (t) => {
  const folder = temporaryFolder();
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const [socket, file] = [join(folder, 's'), join(folder, 'run', 'db')];
  const first = await serveEmbedded({ listen: `unix:${socket}`, file, log: SILENT });
  t.after(() => first.close());
  assert.equal(statSync(socket).mode & 0o777, 0o600);
  const again = (listen: string, data: string) => serveEmbedded({ listen, file: data, log: SILENT });
  await assert.rejects(again('http://127.0.0.1:0', file), {
    code: 'IO',
    message: /another server has this file open/,
  });
  await assert.rejects(again(`unix:${socket}`, join(folder, 'db2')), { code: 'IO', errno: 'EADDRINUSE' });
  await assert.rejects(again('127.0.0.1', join(folder, 'db2')), { code: 'CONFIG_INVALID' });
  const kv = client(t, first.endpoint);
  await kv.put('/still', 'here');
  await first.close();
  assert.equal(existsSync(socket), false);

  const killed = await startEmbeddedProcess();
  t.after(() => killed.stop());
  await killed.kill('SIGKILL');
  assert.ok(existsSync(killed.endpoint.slice('unix:'.length)));
  await killed.restart();
});

test('a signal closes it, open watches included', async (t) => {
  const folder = temporaryFolder();
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const abort = new AbortController();
  const options = { listen: 'http://127.0.0.1:0', file: join(folder, 'db'), log: SILENT };
  const server = await serveEmbedded({ ...options, signal: abort.signal });
  const kv = client(t, server.endpoint);
  const watching = (async () => {
    for await (const _ of kv.watch('/', 1, AbortSignal.timeout(5_000))) abort.abort();
  })();
  await assert.rejects(watching, { code: 'STORE_UNAVAILABLE' });
  await server.closed;
  await assert.rejects(kv.get('/a'), { code: 'STORE_UNAVAILABLE', errno: 'ECONNREFUSED' });
});

test('history is bounded in revisions and in bytes', () => {
  const db = openDatabase(':memory:');
  const machine = new Machine(db, () => {});
  const key = Buffer.from('key');
  const put = (value: Buffer): void => {
    machine.put({ key, value, lease: '0' });
    machine.history.trim();
  };
  const count = (): number => Number(db.prepare('SELECT count(*) AS n FROM history').get()?.n);
  for (let i = 0; i < 20_500; i++) put(Buffer.from(String(i)));
  assert.ok(count() <= 20_001 && count() >= 10_000, `${count()}`);
  assert.ok(machine.history.compacted > 10_000);
  const megabyte = Buffer.alloc(1024 * 1024);
  for (let i = 0; i < 150; i++) put(megabyte);
  const bytes = Number(db.prepare('SELECT sum(length(value)) AS n FROM history').get()?.n);
  assert.ok(bytes <= 65 * megabyte.length && bytes >= 30 * megabyte.length, `${bytes}`);
  assert.equal(machine.revision, 20_651);
  assert.equal(machine.history.since(machine.revision, 1).length, 1, 'the newest revision is always kept');
  db.close();
});

test('a slow reader’s watch receives everything in order without using server memory', async (t) => {
  const server = await startEmbedded();
  t.after(() => server.stop());
  const kv = client(t, server.endpoint);
  const transport = new Transport({ endpoints: [server.endpoint] });
  t.after(() => transport.close());
  const range = {
    key: Buffer.from('/s').toString('base64'),
    range_end: Buffer.from('/t').toString('base64'),
  };
  const response = await transport.stream('/v3/watch', { create_request: range });
  t.after(() => response.destroy());
  const total = 600;
  const value = 'v'.repeat(50_000);
  const before = process.memoryUsage().arrayBuffers + process.memoryUsage().external;
  for (let i = 0; i < total; i++) await kv.put('/slow', `${i} ${value}`);
  const grown = process.memoryUsage().arrayBuffers + process.memoryUsage().external - before;
  assert.ok(grown < 25_000_000, `${grown} bytes for 40 MB of events`);
  let next = 0;
  let rest = '';
  response.setEncoding('utf8');
  for await (const chunk of response) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      for (const { kv: item } of JSON.parse(line).result.events ?? []) {
        assert.equal(Number(Buffer.from(item.value, 'base64').toString().split(' ')[0]), next++);
      }
    }
    if (next === total) break;
  }
  assert.equal(next, total);
});

test('invalid requests get an error answer and do not crash the server', async (t) => {
  const server = await startEmbedded();
  t.after(() => server.stop());
  const ask = (method: string, path: string, body = ''): Promise<{ status: number; text: string }> =>
    new Promise((resolve, reject) => {
      const socketPath = server.endpoint.slice('unix:'.length);
      const request = http.request({ socketPath, method, path }, async (response) => {
        const text = (await response.setEncoding('utf8').toArray()).join('');
        resolve({ status: response.statusCode ?? 0, text });
      });
      request.on('error', reject).end(body);
    });
  assert.deepEqual(await ask('GET', '/health'), { status: 200, text: '{"health":"true"}' });
  assert.match((await ask('GET', '/version')).text, /"etcdserver":"3\.4\./);
  assert.match((await ask('POST', '/v3/maintenance/status', '{}')).text, /"dbSize":"\d+"/);
  assert.equal((await ask('GET', '/nothing')).status, 404);
  assert.equal((await ask('POST', '/v3/nothing', '{}')).status, 404);
  assert.equal((await ask('GET', '/v3/kv/put')).status, 405);
  assert.equal((await ask('DELETE', '/v3/kv/put')).status, 405);
  for (const body of ['', 'nonsense', '[]', '7', '{"key":7}', '{"key":"!"}', '{"key":"YQ==","lease":"x"}']) {
    const { status, text } = await ask('POST', '/v3/kv/put', body);
    assert.equal(status, 400, body);
    assert.equal(JSON.parse(text).code, 3, body);
  }
  for (const body of ['{}', '{"create_request":{}}', '{"create_request":7}']) {
    assert.equal((await ask('POST', '/v3/watch', body)).status, 400, body);
  }
  const unknown = [
    ['range', '{"key":"YQ==","sort_order":"DESCEND"}'],
    ['put', '{"key":"YQ==","value":"","prev_kv":true}'],
    ['txn', '{"compare":[{"key":"YQ==","target":"VERSION","result":"GREATER"}]}'],
  ] as const;
  for (const [call, body] of unknown)
    assert.equal((await ask('POST', `/v3/kv/${call}`, body)).status, 501, body);
  assert.equal((await ask('POST', '/v3/kv/put', 'x'.repeat(4_000_000))).status, 429);
  assert.match((await ask('POST', '/v3/auth/authenticate', '{}')).text, /authentication is not enabled/);
});

test('a folder is created for the file, but none above it', async (t) => {
  const folder = temporaryFolder();
  t.after(() => rmSync(folder, { recursive: true }));
  const serve = (path: string) =>
    serveEmbedded({ listen: `unix:${join(folder, 'store.sock')}`, file: join(folder, path), log: SILENT });
  await assert.rejects(serve('nope/deeper/store.db'), {
    code: 'IO',
    message: /create the folder .*nope\/deeper/,
  });
  assert.deepEqual(readdirSync(folder), []);
  await (await serve('data/store.db')).close();
  assert.ok(readdirSync(join(folder, 'data')).includes('store.db'));
});
