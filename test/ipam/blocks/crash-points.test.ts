import { MemoryBlocks } from '../../store/memory/blocks.ts';
import { Memory } from '../../store/memory/store.ts';
import { crashPoints } from './crash-points.ts';

crashPoints('killed between any two steps', async () => new MemoryBlocks(new Memory()));
