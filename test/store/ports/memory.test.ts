import { Memory, MemoryStore } from '../memory/store.ts';
import { portsConformance } from './conformance.ts';

portsConformance('objects in memory', async (t) => {
  const memory = new Memory();
  const open = (): MemoryStore => {
    const store = new MemoryStore(memory);
    t.after(() => store.close());
    return store;
  };
  return { open };
});
