import { join } from 'node:path';
import { startStore, stopStore, storeProcess } from '../../src/lab/machine/store.ts';
import { killNow } from '../../src/linux/process.ts';
import { SILENT } from '../../src/log.ts';
import { serveEmbedded } from '../../src/store/embedded/serve.ts';
import { EtcdKv } from '../../src/store/kv/client.ts';
import { Transport } from '../../src/store/kv/transport.ts';
import type { Cluster } from './cluster.ts';

export async function killStore({ lab }: Cluster): Promise<void> {
  const id = storeProcess(lab);
  if (id) await killNow([id]);
}

/**
 * Disconnects the agents from the store, lets `work` change it, and compacts its history: watches cannot
 * resume and have missed events.
 */
export async function watchGap(cluster: Cluster, work: () => Promise<void>): Promise<void> {
  const { lab } = cluster;
  await stopStore(lab);
  const listen = `unix:${join(lab.paths.root, 'aside.sock')}`;
  const aside = await serveEmbedded({ listen, file: lab.paths.storeData, log: SILENT });
  const kv = new EtcdKv({ endpoints: [listen] });
  const transport = new Transport({ endpoints: [listen] });
  try {
    cluster.aside = kv;
    await work();
    const { revision } = await kv.list('/');
    await transport.call('/v3/kv/compaction', { revision: String(revision), physical: true });
  } finally {
    cluster.aside = undefined;
    transport.close();
    kv.close();
    await aside.close();
    await startStore(lab);
  }
}
