import { test } from 'node:test';
import { overEtcd } from '../store/ports/etcd.ts';
import { NO_ETCD, startEmbedded, startEtcd } from '../store/servers.ts';
import { roundTrip } from './round-trip.ts';

test('random contents move between the embedded store and etcd', { skip: NO_ETCD }, async (t) => {
  const embedded = overEtcd(() => startEmbedded());
  const etcd = overEtcd(() => startEtcd(['--unsafe-no-fsync']));
  await roundTrip(t, embedded, etcd, 3);
  await roundTrip(t, etcd, embedded, 3);
});
