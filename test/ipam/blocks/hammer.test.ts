import { test } from 'node:test';
import { startEmbeddedProcess } from '../../store/servers.ts';
import { hammer } from './hammer.ts';

test('many nodes against the embedded store, nodes and store killed again and again', async (t) => {
  const server = await startEmbeddedProcess();
  t.after(() => server.stop());
  await hammer(t, server, true);
});
