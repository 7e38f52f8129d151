import { test } from 'node:test';
import { NO_ETCD, startEtcd } from '../../store/servers.ts';
import { hammer } from './hammer.ts';

test('many nodes against etcd, killed again and again', { skip: NO_ETCD }, async (t) => {
  const server = await startEtcd();
  t.after(() => server.stop());
  await hammer(t, server, false);
});
