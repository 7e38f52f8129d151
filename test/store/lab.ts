import { storeEndpoint } from '../../src/lab/machine/store.ts';
import type { Lab } from '../../src/lab/record/lab.ts';
import { EtcdKv } from '../../src/store/kv/client.ts';
import type { Kv } from '../../src/store/kv/kv.ts';

/** The keys of a lab's store, for tests that bypass its ports. */
export async function withKv<T>(lab: Lab, work: (kv: Kv) => Promise<T>): Promise<T> {
  const kv = new EtcdKv({ endpoints: [storeEndpoint(lab)] });
  try {
    return await work(kv);
  } finally {
    kv.close();
  }
}
