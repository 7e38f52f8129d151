import { before, describe } from 'node:test';
import { ApiServer, forSuite, NO_API_SERVER } from '../../kubernetes/api-server.ts';
import { blocksConformance } from '../ports/blocks.ts';
import { feedConformance } from '../ports/feed.ts';
import { membershipConformance } from '../ports/membership.ts';
import { networkConformance } from '../ports/network.ts';
import { resourcesConformance } from '../ports/resources.ts';
import { applyCrds } from './crds.ts';
import { overKubernetes } from './ports.ts';

describe('the Kubernetes API, with the rights that are shipped', { skip: NO_API_SERVER }, () => {
  let server: ApiServer;
  const life = forSuite();
  before(async () => {
    server = await ApiServer.start(life);
    await applyCrds(server.client(life));
  });
  const start = overKubernetes(() => server);
  const limits = { challenges: false } as const;
  networkConformance(start);
  feedConformance(start);
  membershipConformance(start, limits);
  resourcesConformance(start);
  blocksConformance(start);
});
