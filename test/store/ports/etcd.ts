import { SILENT } from '../../../src/log.ts';
import { EtcdStore } from '../../../src/store/etcd/store.ts';
import { EtcdKv } from '../../../src/store/kv/client.ts';
import type { Server } from '../servers.ts';
import type { Start } from './conformance.ts';

/** The etcd implementation of the ports, on a server started for each test. */
export function overEtcd(serve: () => Promise<Server>): Start {
  return async (t) => {
    const server = await serve();
    t.after(() => server.stop());
    const open = (): EtcdStore => {
      const kv = new EtcdKv({ endpoints: [server.endpoint], timeout: 3_000 });
      const store = new EtcdStore(kv, { prefix: '/test', answerTime: 600 }, SILENT);
      t.after(() => store.close());
      return store;
    };
    return { open };
  };
}
