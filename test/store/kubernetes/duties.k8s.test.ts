import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SILENT } from '../../../src/log.ts';
import { NODES } from '../../../src/store/kubernetes/kinds.ts';
import { KubernetesStore } from '../../../src/store/kubernetes/store.ts';
import { ApiServer, NO_API_SERVER } from '../../kubernetes/api-server.ts';
import { eventually } from '../servers.ts';
import { agentToken, NAMESPACE } from './rights.ts';

test('with an agent’s rights: a duty is done by one node at a time, and who is gone is known', {
  skip: NO_API_SERVER,
}, async (t) => {
  const server = await ApiServer.start(t);
  const admin = server.client(t);
  const access = server.access(await agentToken(admin));
  const store = new KubernetesStore(access, { namespace: NAMESPACE }, SILENT);
  t.after(() => store.close());
  const { duties } = store;

  const working = new Set<string>();
  const begin = (node: string): { stop: () => Promise<void> } => {
    const stop = new AbortController();
    const done = duties.share(
      node,
      (signal) =>
        new Promise((resolve) => {
          working.add(node);
          signal.addEventListener('abort', () => {
            working.delete(node);
            resolve();
          });
        }),
      stop.signal,
    );
    return {
      stop: () => {
        stop.abort();
        return done;
      },
    };
  };
  const first = begin('node1');
  await eventually(() => working.has('node1'));
  const second = begin('node2');
  await first.stop();
  assert.deepEqual([...working], []);
  await second.stop();
  // The lease was given up: the next need not wait until it runs out.
  const third = begin('node3');
  await eventually(() => working.has('node3'));
  await third.stop();

  await admin.create(NODES, { metadata: { name: 'node1' } });
  assert.equal(await duties.isGone('node1'), false);
  await admin.delete(NODES, { name: 'node1' });
  assert.equal(await duties.isGone('node1'), true);
});
