import { before, describe } from 'node:test';
import { ApiServer, forSuite, NO_API_SERVER } from '../../kubernetes/api-server.ts';
import { feedConformance } from '../ports/feed.ts';
import { membershipConformance } from '../ports/membership.ts';
import { networkConformance } from '../ports/network.ts';
import { overKubernetes } from './ports.ts';

describe('the Kubernetes API, with the rights that are shipped', { skip: NO_API_SERVER }, () => {
  let server: ApiServer;
  const life = forSuite();
  before(async () => {
    server = await ApiServer.start(life);
  });
  const start = overKubernetes(() => server);
  const limits = { blocks: false, challenges: false } as const;
  networkConformance(start);
  feedConformance(start, limits);
  membershipConformance(start, limits);
});
