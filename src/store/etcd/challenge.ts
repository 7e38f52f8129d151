import { setTimeout as sleep } from 'node:timers/promises';
import type { Kv } from '../kv/kv.ts';

const POLL = 100;

/**
 * Asks whether a node's agent lives: writes `key`, which a living agent deletes. Costs nothing until two agents want one
 * name. Returns false when the key stood for `time` milliseconds: nobody is there, or it cannot reach the store.
 */
export async function isNameAnswered(kv: Kv, key: string, instance: string, time: number): Promise<boolean> {
  const { id: lease } = await kv.grant(Math.ceil(time / 1000) + 10);
  try {
    await kv.put(key, instance, { lease });
    for (const end = performance.now() + time; performance.now() < end; ) {
      await sleep(POLL);
      if (!(await kv.get(key))) return true;
    }
    return false;
  } finally {
    await kv.revoke(lease);
  }
}
