import assert from 'node:assert/strict';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import net from 'node:net';
import { dirname } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Transport } from '../../../src/store/kv/transport.ts';
import {
  eventually,
  type ServerProcess,
  startEmbedded,
  startEmbeddedProcess,
  temporaryFolder,
} from '../servers.ts';
import { lastView, outcome, self, TestCluster } from './cluster.ts';

const NETWORK = { Network: '10.5.0.0/16' };

async function start(t: TestContext): Promise<{ server: ServerProcess; cluster: TestCluster }> {
  const server = await startEmbeddedProcess();
  t.after(() => server.stop());
  const cluster = new TestCluster(t, server.endpoint);
  await cluster.configure(NETWORK);
  return { server, cluster };
}

test('the store is killed and returns while agents watch and renew: nobody loses anything', async (t) => {
  const { server, cluster } = await start(t);
  const claims = await Promise.all([1, 2, 3].map((i) => cluster.join(self(i), {}, { leaseTtl: 5 })));
  const losses = claims.map(({ lost }) => outcome(lost));
  const views = cluster.views();
  const before = await lastView(views, ({ nodes }) => nodes.length === 3);
  await server.kill('SIGKILL');
  // Longer than the leases' TTL.
  await sleep(6_500);
  assert.equal(views.length, 1, 'an outage causes no view');
  await server.restart();
  const late = await eventually(() => cluster.join(self(4)).catch(() => undefined));
  const after = await lastView(views, ({ nodes }) => nodes.length === 4);
  assert.deepEqual(after.nodes.slice(0, 3), before.nodes);
  assert.ok(after.nodes.slice(0, 3).every((node, i) => node === before.nodes[i]));
  await sleep(6_000);
  assert.equal(views.length, 2, 'leases are renewed again');
  assert.deepEqual(
    losses.map(({ code }) => code),
    [undefined, undefined, undefined],
  );
  await late.release();
  await lastView(views, ({ nodes }) => nodes.length === 3);
  assert.ok(cluster.warnings.some((text) => text.includes('the store is unreachable')));
});

test('after repeated disconnections, even past compaction, the view ends up equal to the store', async (t) => {
  const folder = temporaryFolder();
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const server = await startEmbedded(folder);
  t.after(() => server.stop());
  // The watching agent connects through this proxy, so that it can be cut off.
  const sockets = new Set<net.Socket>();
  let open = true;
  const proxy = net.createServer((inner) => {
    if (!open) return void inner.destroy();
    const outer = net.connect(server.endpoint.slice('unix:'.length));
    for (const [from, to] of [
      [inner, outer],
      [outer, inner],
    ] as const) {
      sockets.add(from);
      from.pipe(to);
      from.on('error', () => {}).on('close', () => void to.destroy());
    }
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  t.after(() => {
    open = false;
    for (const socket of sockets) socket.destroy();
    proxy.close();
  });
  const cluster = new TestCluster(t, server.endpoint);
  await cluster.configure(NETWORK);
  await cluster.join(self(1));
  const { port } = proxy.address() as net.AddressInfo;
  const watcher = new TestCluster(t, `http://127.0.0.1:${port}`);
  const views = watcher.views();
  await lastView(views, ({ nodes }) => nodes.length === 1);
  const admin = new Transport({ endpoints: [server.endpoint] });
  t.after(() => admin.close());
  for (let round = 2; round < 8; round++) {
    open = false;
    for (const socket of sockets) socket.destroy();
    sockets.clear();
    const count = views.length;
    const gone = await cluster.join(self(50));
    await cluster.join(self(round));
    await gone.release();
    await cluster.kv.put('/net/unrelated', String(round));
    if (round % 2) {
      const { revision } = await cluster.kv.list('/none');
      await admin.call('/v3/kv/compaction', { revision: String(revision) });
    }
    assert.equal(views.length, count);
    open = true;
    const view = await lastView(views, ({ nodes }) => nodes.length === round, 8_000);
    assert.deepEqual(
      view.nodes.map(({ name }) => name).toSorted(),
      Array.from({ length: round }, (_, i) => `node${i + 1}`),
    );
  }
});

test('a hanging store is detected, and watched again when it resumes', async (t) => {
  const { server, cluster } = await start(t);
  await cluster.join(self(1));
  const views = cluster.views(cluster.store({}, { watchIdle: 200, timeout: 300 }));
  await lastView(views, ({ nodes }) => nodes.length === 1);
  server.process.kill('SIGSTOP');
  await eventually(() => cluster.warnings.some((text) => text.includes('the store is unreachable')));
  server.process.kill('SIGCONT');
  await cluster.join(self(2));
  await lastView(views, ({ nodes }) => nodes.length === 2);
});

test('a slow store is not treated as unreachable', async (t) => {
  const server = await startEmbedded();
  t.after(() => server.stop());
  const sockets: net.Socket[] = [];
  const proxy = net.createServer((inner) => {
    const outer = net.connect(server.endpoint.slice('unix:'.length));
    for (const [from, to] of [
      [inner, outer],
      [outer, inner],
    ] as const) {
      sockets.push(from.on('error', () => {}).on('close', () => void to.destroy()));
      from.on('data', (chunk) => setTimeout(() => to.destroyed || to.write(chunk), 120));
    }
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    proxy.close();
  });
  const { port } = proxy.address() as net.AddressInfo;
  const cluster = new TestCluster(t, `http://127.0.0.1:${port}`);
  await cluster.configure(NETWORK);
  const views = cluster.views();
  const claims = await Promise.all([1, 2, 3].map((i) => cluster.join(self(i), {}, { leaseTtl: 4 })));
  await lastView(views, ({ nodes }) => nodes.length === 3);
  await sleep(4_500);
  assert.equal(views.at(-1)?.nodes.length, 3);
  await claims[0]?.release();
  await lastView(views, ({ nodes }) => nodes.length === 2);
});

test('when a store comes back empty, nodes are written again and no view loses one', async (t) => {
  const { server, cluster } = await start(t);
  const claims = await Promise.all([1, 2, 3].map((i) => cluster.join(self(i))));
  const views = cluster.views();
  await lastView(views, ({ nodes }) => nodes.length === 3);
  await server.kill('SIGKILL');
  for (const suffix of ['', '-wal', '-shm']) {
    rmSync(`${dirname(server.endpoint.slice('unix:'.length))}/store.db${suffix}`, { force: true });
  }
  await server.restart();
  await eventually(async () => (await cluster.keys().catch(() => [])).length >= 6, 8_000);
  await cluster.configure(NETWORK);
  await cluster.join(self(4));
  const view = await lastView(views, ({ nodes }) => nodes.length === 4, 10_000);
  assert.ok(views.every(({ nodes }) => nodes.length >= 3));
  assert.deepEqual(
    view.nodes.slice(0, 3).flatMap(({ subnets }) => subnets),
    claims.flatMap(({ subnets }) => subnets),
  );
});
