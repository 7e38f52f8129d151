import { rm } from 'node:fs/promises';
import { pause } from '../../async/pause.ts';
import { messageOf } from '../../error.ts';
import type { CompanionContext } from '../companion.ts';
import type { OpenCloud } from './cloud.ts';
import { Memory } from './memory.ts';
import { isAt } from './plan.ts';

/** How often it is tried, and the milliseconds between. */
const TRIES = 3;
const PAUSE = 2000;

/** Removes the routes that this node has made. Those that cannot be are logged, and left. */
export async function endRoutes(open: OpenCloud, { folders, log, signal }: CompanionContext): Promise<void> {
  const { made, origin } = new Memory(folders.state).read(log);
  for (let left = made.length > 0 && origin ? TRIES : 0; left > 0 && origin; left--) {
    try {
      using cloud = await open(origin, signal);
      await cloud.inspect();
      const tables = [...new Set(made.map(({ table }) => table))];
      const routes = await cloud.routes(
        tables,
        made.map(({ destination }) => destination),
      );
      for (const route of routes)
        if (route.leads === 'here' && made.some((place) => isAt(place, route))) await cloud.remove(route);
      break;
    } catch (error) {
      signal.throwIfAborted();
      if (left === 1) log.warn({ routes: made, error: messageOf(error) }, 'routes stay in the cloud');
      else await pause(PAUSE, signal);
    }
  }
  await rm(folders.state, { recursive: true, force: true });
}
