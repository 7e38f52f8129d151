import { test } from 'node:test';
import { Memory, MemoryStore } from '../store/memory/store.ts';
import type { Start } from '../store/ports/conformance.ts';
import { overEtcd } from '../store/ports/etcd.ts';
import { startEmbedded } from '../store/servers.ts';
import { roundTrip } from './round-trip.ts';

const overMemory: Start = async (t) => {
  const memory = new Memory();
  return {
    open: () => {
      const store = new MemoryStore(memory);
      t.after(() => store.close());
      return store;
    },
  };
};

test('random contents move from the embedded store to another and back', async (t) => {
  const embedded = overEtcd(() => startEmbedded());
  await roundTrip(t, embedded, overMemory, 5);
  await roundTrip(t, overMemory, embedded, 5);
});
