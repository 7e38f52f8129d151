import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type TestContext, test } from 'node:test';
import { KubernetesClient } from '../../../src/kubernetes/api/client.ts';
import { SILENT } from '../../../src/log.ts';
import { ClusterState } from '../../../src/store/kubernetes/cluster-state.ts';
import { OwnKinds } from '../../../src/store/kubernetes/own-kinds.ts';
import { eventually } from '../servers.ts';

const CALICO = '/crd.projectcalico.org/';
const PATIENCE = 1000;

test('a kind of Calico’s that cannot be listed is waited for, but not for ever, and named', async (t) => {
  const { kinds, state, server } = await follow(t, `${CALICO}v1/bgppeers`);
  await eventually(() => server.isAsked(`${CALICO}v1/bgppeers`));
  assert.equal(kinds.isComplete, false);
  await eventually(() => kinds.isComplete, 5 * PATIENCE);
  assert.deepEqual(
    state.resources.ipPools.map(({ name }) => name),
    ['calicos'],
    'the others count',
  );
  assert.match(kinds.outage?.reason ?? '', /overloaded/);
});

test('an API that does not say whether it has Calico’s kinds holds nothing up', async (t) => {
  const { kinds, state, server } = await follow(t, CALICO);
  await eventually(() => kinds.isComplete, 5 * PATIENCE);
  assert.match(kinds.outage?.reason ?? '', /overloaded/);
  server.failing = undefined;
  // They are asked for again after two seconds.
  await eventually(() => state.resources.ipPools.length === 1, 4000);
  assert.deepEqual([kinds.isComplete, kinds.outage], [true, undefined]);
});

/** Follows a server that fails where the path includes `failing`, and else has one pool of Calico's. */
async function follow(t: TestContext, failing: string) {
  const paths: string[] = [];
  const server = {
    failing: failing as string | undefined,
    isAsked: (part: string): boolean => paths.some((path) => path.includes(part)),
  };
  const http = createServer(({ url = '' }, response) => {
    paths.push(url);
    if (server.failing && url.includes(server.failing)) response.writeHead(500).end('overloaded');
    else if (url.includes('watch=true')) response.flushHeaders();
    else {
      const items = url.includes(`${CALICO}v1/ippools`) ? [POOL] : [];
      response.end(JSON.stringify({ metadata: { resourceVersion: '1' }, items }));
    }
  }).listen(0, '127.0.0.1');
  await once(http, 'listening');
  const address = http.address();
  assert.ok(typeof address === 'object' && address);
  const access = {
    server: `http://127.0.0.1:${address.port}`,
    namespace: 'default',
    tls: async () => ({}),
    headers: async () => ({}),
    forget: () => {},
  };
  const client = new KubernetesClient({ access, attempts: 1 });
  const state = new ClusterState();
  const kinds = new OwnKinds(client, state, SILENT, PATIENCE);
  const stop = new AbortController();
  void kinds.run(stop.signal, () => {});
  t.after(() => {
    stop.abort();
    client.close();
    http.closeAllConnections();
    http.close();
  });
  return { kinds, state, server };
}

const POOL = { metadata: { name: 'calicos', resourceVersion: '1' }, spec: { cidr: '192.168.0.0/16' } };
