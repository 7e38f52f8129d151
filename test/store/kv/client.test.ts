import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import { EtcdKv } from '../../../src/store/kv/client.ts';
import type { Kv } from '../../../src/store/kv/kv.ts';
import { freePort, startEmbedded, startEmbeddedProcess } from '../servers.ts';

function client(t: TestContext, options: ConstructorParameters<typeof EtcdKv>[0]): EtcdKv {
  const kv = new EtcdKv(options);
  t.after(() => kv.close());
  return kv;
}

/** Waits for the watch to break and returns why. */
async function breaks(kv: Kv, began: () => void = () => {}): Promise<unknown> {
  try {
    for await (const _ of kv.watch('/', (await kv.list('/')).revision + 1, AbortSignal.timeout(8_000)))
      began();
  } catch (error) {
    return error;
  }
  return 'did not break';
}

test('malformed endpoints are rejected by name', () => {
  const wrong = [
    '',
    'localhost:2379',
    'ftp://a',
    'unix:relative',
    'http://u:p@a',
    'http://a/path',
    'http://',
  ];
  for (const endpoint of wrong) {
    assert.throws(() => new EtcdKv({ endpoints: [endpoint] }), { code: 'CONFIG_INVALID' }, endpoint);
  }
  assert.throws(() => new EtcdKv({ endpoints: [] }), { code: 'CONFIG_INVALID' });
});

test('reads and writes skip a dead endpoint', async (t) => {
  const server = await startEmbedded();
  t.after(() => server.stop());
  const dead = `http://127.0.0.1:${await freePort()}`;
  const kv = client(t, { endpoints: [dead, 'unix:/nowhere/at/all', server.endpoint] });
  await kv.put('/a', '1');
  assert.equal((await kv.get('/a'))?.value, '1');
  const abort = new AbortController();
  for await (const _ of kv.watch('/', 1, abort.signal)) abort.abort();
});

test('a write whose answer is lost is not sent twice; a read is', async (t) => {
  const paths: string[] = [];
  const mute = http.createServer((request) => {
    paths.push(request.url ?? '');
    request.socket.destroy();
  });
  mute.listen(0, '127.0.0.1');
  await once(mute, 'listening');
  t.after(() => mute.close());
  const { port } = mute.address() as net.AddressInfo;
  const kv = client(t, { endpoints: [`http://127.0.0.1:${port}`] });
  await assert.rejects(kv.put('/a', '1'), { code: 'STORE_UNAVAILABLE', errno: 'ECONNRESET' });
  await assert.rejects(kv.txn({ compare: [], success: [] }), { code: 'STORE_UNAVAILABLE' });
  assert.deepEqual(paths, ['/v3/kv/put', '/v3/kv/txn']);
  await assert.rejects(kv.get('/a'), { code: 'STORE_UNAVAILABLE', message: /^store range at http/ });
  assert.equal(paths.length, 4);
});

test('a silent server costs one timeout, then the next is tried', async (t) => {
  const server = await startEmbedded();
  t.after(() => server.stop());
  const silent = net.createServer(() => {});
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  t.after(() => silent.close());
  const { port } = silent.address() as net.AddressInfo;
  const endpoints = [`http://127.0.0.1:${port}`, server.endpoint];
  const slow = client(t, { endpoints: endpoints.slice(0, 1), timeout: 200 });
  await assert.rejects(slow.put('/a', '1'), {
    code: 'STORE_UNAVAILABLE',
    message: /no answer within 200 ms/,
  });
  const kv = client(t, { endpoints, timeout: 200 });
  const before = performance.now();
  assert.equal(await kv.get('/a'), undefined);
  assert.ok(performance.now() - before < 1_000);
  kv.close();
  slow.close();
  await assert.rejects(kv.get('/a'), { code: 'STORE_UNAVAILABLE', message: /closed/ });
});

test('a watch breaks when its server is killed', async (t) => {
  const server = await startEmbeddedProcess();
  t.after(() => server.stop());
  const kv = client(t, { endpoints: [server.endpoint] });
  const error = await breaks(kv, () => void server.kill('SIGKILL'));
  assert.equal((error as { code?: string }).code, 'STORE_UNAVAILABLE');
});

test('a watch breaks when its server hangs', async (t) => {
  const server = await startEmbeddedProcess();
  t.after(() => server.stop());
  const kv = client(t, { endpoints: [server.endpoint], timeout: 300, watchIdle: 300 });
  const error = await breaks(kv, () => server.process.kill('SIGSTOP'));
  assert.equal((error as { code?: string }).code, 'STORE_UNAVAILABLE');
});

test('a watch breaks when changes no longer arrive, but not when there are none', async (t) => {
  const server = await startEmbedded();
  t.after(() => server.stop());
  // Forwards every connection; a watch's connection can be made to swallow what the server sends.
  let swallow = false;
  const sockets: net.Socket[] = [];
  const proxy = net.createServer((inner) => {
    const outer = net.connect(server.endpoint.slice('unix:'.length));
    let watches = false;
    inner.on('data', (chunk) => {
      watches ||= chunk.includes('/v3/watch');
      outer.write(chunk);
    });
    outer.on('data', (chunk) => (swallow && watches) || inner.write(chunk));
    for (const socket of [inner, outer]) sockets.push(socket.on('error', () => {}));
    inner.on('close', () => outer.destroy());
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    proxy.close();
  });
  const { port } = proxy.address() as net.AddressInfo;
  const kv = client(t, { endpoints: [`http://127.0.0.1:${port}`], watchIdle: 150 });
  const direct = client(t, { endpoints: [server.endpoint] });
  await direct.put('/x', '1');

  const { revision } = await kv.list('/');
  const quiet = AbortSignal.timeout(1_000);
  for await (const { events } of kv.watch('/', revision + 1, quiet)) assert.equal(events.length, 0);
  assert.ok(quiet.aborted, 'a watch without changes stays up');

  const error = await breaks(kv, () => {
    swallow = true;
    void direct.put('/x', '2');
  });
  assert.match(String(error), /the stream is silent although the store has changes/);
});
