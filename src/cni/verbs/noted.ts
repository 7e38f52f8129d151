import { existsSync, rmSync } from 'node:fs';
import { roleOf } from '../protocol/conf.ts';
import { readCommand, readInvocation } from '../protocol/invocation.ts';
import { type NotedDel, notedDels } from '../records/noted-del.ts';
import type { CniState } from '../state.ts';
import { del } from './del.ts';
import { loopbackDel } from './loopback.ts';

/** Does all DELs that were noted while no agent answered. */
export async function doNotedDels(state: CniState): Promise<void> {
  for (const note of notedDels(state.context.stateDir)) {
    const containerId = note.request.env.CNI_CONTAINERID ?? '';
    await state.locks.run(containerId, () => doNotedDel(note, state));
  }
}

/**
 * Does a DEL that was answered while the agent was away. The caller holds the container's lock. Who held it
 * before may have done the DEL already, and given the container a new interface.
 */
export async function doNotedDel({ file, request }: NotedDel, state: CniState): Promise<void> {
  if (!existsSync(file)) return;
  try {
    const command = readCommand(request.env);
    if (command === 'DEL') {
      const call = readInvocation(command, request.env, request.stdin);
      await (roleOf(call.conf) === 'loopback' ? loopbackDel(call, state) : del(call, state));
    }
  } catch (error) {
    state.context.warn(`a DEL noted in ${file}`, error);
  }
  rmSync(file, { force: true });
}
