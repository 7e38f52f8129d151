import { rmSync } from 'node:fs';
import { poll } from '../../async/poll.ts';
import type { Document } from '../../cluster/calico/document.ts';
import { codeOf, FlatnetError, messageOf } from '../../error.ts';
import { isAlive, type ProcessId, spawnDetached, terminate } from '../../linux/process.ts';
import { SILENT } from '../../log.ts';
import { openEtcd } from '../../store/open.ts';
import type { Store } from '../../store/ports/store.ts';
import { lastLines, writeJson } from '../record/files.ts';
import { type Lab, labEnvironment, labFlag, readProcess } from '../record/lab.ts';
import { flatnetProgram } from './programs.ts';

/** Timeout in milliseconds. It can be long, because a store that exits is noticed at once. */
const PATIENCE = 180_000;

/**
 * The endpoint for agents' configurations. A unix socket with a path is reachable from every network
 * namespace.
 */
export function storeEndpoint(lab: Lab): string {
  return `unix:${lab.paths.storeSocket}`;
}

/** Starts the store that all nodes share; resolves when it answers. */
export async function startStore(lab: Lab): Promise<void> {
  const { storeData, storeLog, storeProcess, storeSocket } = lab.paths;
  rmSync(storeSocket, { force: true });
  const argv = flatnetProgram('store', 'serve', '--listen', storeEndpoint(lab), '--data', storeData);
  const id = await spawnDetached(argv, { logFile: storeLog, env: labEnvironment(lab.name) });
  writeJson(storeProcess, id);
  const failed = (error: unknown): FlatnetError =>
    new FlatnetError(lastLines(storeLog, 1) || messageOf(error), {
      code: 'STORE_UNAVAILABLE',
      operation: 'start store',
      object: `lab ${lab.name}`,
      fix: `see ${storeLog}`,
      cause: error,
    });
  let reason: unknown;
  const ask = async (): Promise<true | undefined> => {
    try {
      await isConfigured(lab);
      return true;
    } catch (error) {
      if (!isAlive(id)) throw failed(error);
      reason = error;
      return undefined;
    }
  };
  if (!(await poll(ask, { every: 20, patience: PATIENCE }))) throw failed(reason);
}

export function storeProcess(lab: Lab): ProcessId | undefined {
  const id = readProcess(lab.paths.storeProcess);
  return id && isAlive(id) ? id : undefined;
}

export async function stopStore(lab: Lab): Promise<void> {
  const id = storeProcess(lab);
  if (id) await terminate([id], 3000);
}

/** Writes the network configuration that every agent reads. */
export async function publishNetwork(lab: Lab): Promise<void> {
  await withStore(lab, ({ network }) => network.write(lab.network));
}

/** Applies documents one after another, like `flatnet apply`. */
export async function publishResources(lab: Lab, documents: readonly Document[]): Promise<void> {
  await withStore(lab, async ({ resources }) => {
    for (const document of documents) await resources.apply(document);
  });
}

export async function withStore<T>(lab: Lab, work: (store: Store) => Promise<T>): Promise<T> {
  const store = openEtcd({ endpoints: [storeEndpoint(lab)] }, SILENT);
  try {
    return await work(store);
  } catch (error) {
    if (codeOf(error) !== 'STORE_UNAVAILABLE' || storeProcess(lab)) throw error;
    throw new FlatnetError('the store is not running', {
      code: 'STORE_UNAVAILABLE',
      object: `lab ${lab.name}`,
      fix: `start it: flatnet lab store start${labFlag(lab.name)}`,
      cause: error,
    });
  } finally {
    store.close();
  }
}

/** Whether the store has a network configuration. Throws STORE_UNAVAILABLE while it does not answer. */
async function isConfigured(lab: Lab): Promise<boolean> {
  try {
    await withStore(lab, ({ network }) => network.read());
    return true;
  } catch (error) {
    if (codeOf(error) === 'STORE_UNAVAILABLE') throw error;
    return false;
  }
}
