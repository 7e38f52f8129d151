import assert from 'node:assert/strict';
import { createServer, type ServerResponse } from 'node:http';
import { type TestContext, test } from 'node:test';
import { Backoff } from '../../../src/async/backoff.ts';
import { KubernetesClient } from '../../../src/kubernetes/api/client.ts';
import { Informer } from '../../../src/kubernetes/informer/informer.ts';
import { SILENT } from '../../../src/log.ts';
import { eventually } from '../../store/servers.ts';
import { CONFIG_MAPS } from '../api-server.ts';

/** How a server answers: with nothing useful, a refusal, or an empty list. */
type Mood = 'away' | 'starting' | 'up';

test('a server that comes back refuses at first: the informer asks again soon, and says what it was told', async (t) => {
  const server = await moodyServer(t);
  const access = {
    server: server.url,
    namespace: 'default',
    tls: async () => ({}),
    headers: async () => ({}),
    forget: () => {},
  };
  const client = new KubernetesClient({ access, attempts: 1 });
  t.after(() => client.close());
  const informer = new Informer({
    client,
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
  await eventually(() => server.asked === 8);
  assert.match(informer.problem?.reason ?? '', /not ready/);
  server.mood = 'starting';
  await eventually(() => server.asked > 12);
  assert.match(informer.problem?.reason ?? '', /cannot list/);
  server.mood = 'up';
  const began = performance.now();
  assert.ok((await synced) - began < 1000, 'it waits as if the server were still away');
});

async function moodyServer(t: TestContext) {
  const state = { mood: 'away' as Mood, asked: 0, url: '' };
  const server = createServer((_, response) => {
    state.asked++;
    answer(state.mood, response);
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

function answer(mood: Mood, response: ServerResponse): void {
  if (mood === 'away') response.writeHead(503).end('not ready');
  else if (mood === 'starting') response.writeHead(403).end(JSON.stringify({ message: 'cannot list' }));
  else response.end(JSON.stringify({ metadata: { resourceVersion: '1' }, items: [] }));
}
