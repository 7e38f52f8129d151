import { before, describe, test } from 'node:test';
import { ApiServer, forSuite, NO_API_SERVER } from '../kubernetes/api-server.ts';
import { applyCrds } from '../store/kubernetes/crds.ts';
import { overKubernetes } from '../store/kubernetes/ports.ts';
import { overEtcd } from '../store/ports/etcd.ts';
import { startEmbedded } from '../store/servers.ts';
import { roundTrip } from './round-trip.ts';

describe('moving to the Kubernetes API and from it', { skip: NO_API_SERVER }, () => {
  let server: ApiServer;
  const life = forSuite();
  before(async () => {
    server = await ApiServer.start(life);
    await applyCrds(server.client(life));
  });
  const kubernetes = overKubernetes(() => server);
  const embedded = overEtcd(() => startEmbedded());

  test('random contents are the same afterwards', async (t) => {
    await roundTrip(t, embedded, kubernetes, 6);
    await roundTrip(t, kubernetes, embedded, 6);
  });
});
