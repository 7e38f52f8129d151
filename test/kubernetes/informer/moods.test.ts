import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Backoff } from '../../../src/async/backoff.ts';
import { KubernetesClient } from '../../../src/kubernetes/api/client.ts';
import { Informer } from '../../../src/kubernetes/informer/informer.ts';
import { SILENT } from '../../../src/log.ts';
import { eventually } from '../../store/servers.ts';
import { CONFIG_MAPS } from '../api-server.ts';

test('after a silence, it asks only about what it may list', async (t) => {
  const server = await moodyServer(t);
  server.mood = 'up';
  const informer = new Informer({
    client: clientOf(t, server.url),
    resource: CONFIG_MAPS,
    fieldSelector: 'metadata.name=own',
    reduce: ({ metadata }) => metadata.name,
    log: SILENT,
    idle: 50,
    backoff: new Backoff({ first: 10 }),
  });
  const stop = new AbortController();
  const following = (async () => {
    for await (const _ of informer.events(stop.signal));
  })();
  // A list, a watch that is given up, the newest version, the next watch.
  await eventually(() => server.paths.length >= 4);
  stop.abort();
  await following;
  for (const path of server.paths) assert.match(path, /fieldSelector=metadata.name%3Down/);
  assert.match(server.paths[2] ?? '', /limit=1/);
});

/**
 * How a server answers: with nothing useful, a refusal, a proxy's page, a list and a silent watch, or one
 * that it ends in order right after a bookmark.
 */
type Mood = 'away' | 'starting' | 'proxied' | 'up' | 'ending';

test('a server that comes back refuses at first: the informer asks again soon, and says what it was told', async (t) => {
  const server = await moodyServer(t);
  const informer = new Informer({
    client: clientOf(t, server.url),
    resource: CONFIG_MAPS,
    reduce: ({ metadata }) => metadata.name,
    log: SILENT,
    // After 8 failures it would wait for 2.56 s, then for 5.12 s.
    backoff: new Backoff({ first: 10, longest: 10_000, jitter: 0 }),
  });
  const stop = new AbortController();
  const synced = (async () => {
    for await (const { type } of informer.events(stop.signal))
      if (type === 'synced') return performance.now();
    return Number.POSITIVE_INFINITY;
  })();
  t.after(() => stop.abort());
  await eventually(() => server.paths.length === 8);
  assert.match(informer.problem?.reason ?? '', /not ready/);
  server.mood = 'starting';
  await eventually(() => server.paths.length > 12);
  assert.match(informer.problem?.reason ?? '', /cannot list/);
  server.mood = 'up';
  const began = performance.now();
  assert.ok((await synced) - began < 1000, 'it waits as if the server were still away');
});

test('a kind that is there is not gone while a server that comes back refuses it, only when that lasts', async (t) => {
  const server = await moodyServer(t);
  server.mood = 'up';
  server.names = ['a'];
  const log: string[] = [];
  const informer = new Informer({
    client: clientOf(t, server.url),
    resource: CONFIG_MAPS,
    reduce: ({ metadata }) => metadata.name,
    log: SILENT,
    optional: true,
    absence: 1500,
    backoff: new Backoff({ first: 10, longest: 50 }),
  });
  const stop = new AbortController();
  t.after(() => stop.abort());
  const ended = (async () => {
    for await (const { type } of informer.events(stop.signal)) log.push(type);
  })();
  await eventually(() => log.length === 1);
  const refuse = async (mood: Mood, times: number): Promise<void> => {
    server.mood = mood;
    server.closeAll();
    const before = server.paths.length;
    await eventually(() => server.paths.length >= before + times);
  };
  await refuse('starting', 5);
  assert.match(informer.problem?.reason ?? '', /cannot list/);
  await refuse('proxied', 5);
  server.mood = 'up';
  await eventually(() => informer.problem === undefined);
  assert.deepEqual([log, [...informer.objects.keys()]], [['synced'], ['a']]);
  await refuse('proxied', 5);
  await refuse('starting', 5);
  await ended;
  assert.deepEqual([log, informer.objects.size], [['synced', 'deleted'], 0]);
});

test('a server that ends each watch at once is asked less and less often, from where the last one ended', async (t) => {
  const server = await moodyServer(t);
  server.mood = 'ending';
  const informer = new Informer({
    client: clientOf(t, server.url),
    resource: CONFIG_MAPS,
    reduce: ({ metadata }) => metadata.name,
    log: SILENT,
    backoff: new Backoff({ first: 50, longest: 400, jitter: 0.5 }),
  });
  const stop = new AbortController();
  const following = (async () => {
    for await (const _ of informer.events(stop.signal));
  })();
  await sleep(2000);
  const watches = server.paths.filter((path) => path.includes('watch=true'));
  t.diagnostic(`${watches.length} watches in 2 s`);
  assert.ok(watches.length >= 4 && watches.length <= 15, `${watches.length} watches`);
  for (const [i, path] of watches.entries()) assert.match(path, new RegExp(`resourceVersion=${i + 1}&`));
  assert.equal(server.paths.length - watches.length, 1, 'one list');
  stop.abort();
  await following;
});

function clientOf(t: TestContext, server: string): KubernetesClient {
  const access = {
    server,
    namespace: 'default',
    tls: async () => ({}),
    headers: async () => ({}),
    forget: () => {},
  };
  const client = new KubernetesClient({ access, attempts: 1 });
  t.after(() => client.close());
  return client;
}

const bookmark = (version: number): string =>
  `${JSON.stringify({ type: 'BOOKMARK', object: { metadata: { resourceVersion: `${version}` } } })}\n`;

const item = (name: string): object => ({ metadata: { name, resourceVersion: '1' } });

async function moodyServer(t: TestContext) {
  const state = {
    mood: 'away' as Mood,
    names: [] as string[],
    paths: [] as string[],
    version: 1,
    url: '',
    closeAll: () => server.closeAllConnections(),
  };
  const server = createServer(({ url = '' }, response) => {
    state.paths.push(url);
    if (state.mood === 'away') response.writeHead(503).end('not ready');
    else if (state.mood === 'starting')
      response.writeHead(403).end(JSON.stringify({ message: 'cannot list' }));
    else if (state.mood === 'proxied') response.writeHead(404).end('<html>no backend</html>');
    else if (url.includes('watch=true') && state.mood === 'ending') response.end(bookmark(++state.version));
    else if (url.includes('watch=true')) response.flushHeaders();
    else response.end(JSON.stringify({ metadata: { resourceVersion: '1' }, items: state.names.map(item) }));
  });
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  assert.ok(typeof address === 'object' && address);
  state.url = `http://127.0.0.1:${address.port}`;
  return state;
}
