import { before, describe, test } from 'node:test';
import { SILENT } from '../../../src/log.ts';
import { problemText } from '../../../src/problem.ts';
import { NODES } from '../../../src/store/kubernetes/kinds.ts';
import { KubernetesStore } from '../../../src/store/kubernetes/store.ts';
import { ApiServer, forSuite, NO_API_SERVER } from '../../kubernetes/api-server.ts';
import { facts, LEASES } from '../ports/facts.ts';
import { views } from '../ports/feed.ts';
import { eventually } from '../servers.ts';
import { wipe } from './ports.ts';
import { agentToken, NAMESPACE, without } from './rights.ts';

describe('rights that an agent lacks are named', { skip: NO_API_SERVER }, () => {
  let server: ApiServer;
  const life = forSuite();
  before(async () => {
    server = await ApiServer.start(life);
  });

  for (const [kind, resource, verb] of [
    ['ClusterRole', 'nodes/status', 'patch'],
    ['ClusterRole', 'nodes', 'get'],
    ['ClusterRole', 'nodes', 'list'],
    ['ClusterRole', 'nodes', 'watch'],
    ['Role', 'configmaps', 'get'],
    ['Role', 'configmaps', 'list'],
    ['Role', 'configmaps', 'watch'],
  ] as const) {
    test(`${verb} on ${resource}`, async (t) => {
      const admin = server.client(t);
      await wipe(admin);
      const token = await agentToken(admin, without(kind, resource, verb));
      const open = (access = server.access(token)): KubernetesStore => {
        const store = new KubernetesStore(access, { namespace: NAMESPACE }, SILENT);
        t.after(() => store.close());
        return store;
      };
      await open(server.access()).network.write(LEASES);
      await admin.create(NODES, { metadata: { name: 'node1' }, spec: { podCIDR: '10.5.1.0/24' } });
      // The server needs a moment to see changed roles. What fails at first is what it did not see yet.
      await eventually(async () => {
        const store = open();
        views(t, store);
        const join = store.network.read().then(() => store.membership.join(facts(1)));
        const failure = await join.then(
          () => '',
          (error: unknown) => String(error),
        );
        const said = `${failure}\n${store.feed.problems.map(problemText).join('\n')}`;
        store.close();
        return new RegExp(`cannot ${verb} resource "${resource}".*the verb ${verb} on ${resource}`).test(
          said,
        );
      });
    });
  }
});
