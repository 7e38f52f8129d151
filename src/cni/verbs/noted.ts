import { existsSync, rmSync } from 'node:fs';
import { roleOf } from '../protocol/conf.ts';
import { readCommand, readInvocation } from '../protocol/invocation.ts';
import { type NotedDel, notedDels } from '../records/noted-del.ts';
import type { CniState } from '../state.ts';
import { del } from './del.ts';
import { loopbackDel } from './loopback.ts';

/** Executes all DELs noted while no agent answered. */
export async function runNotedDels(state: CniState): Promise<void> {
  for (const note of notedDels(state.context.stateDir)) {
    const containerId = note.request.env.CNI_CONTAINERID ?? '';
    await state.locks.run(containerId, () => runNotedDel(note, state));
  }
}

/**
 * Executes a noted DEL, if the note still exists. The caller holds the container's lock; its previous holder
 * may already have executed the DEL and given the container a new interface.
 */
export async function runNotedDel({ file, request }: NotedDel, state: CniState): Promise<void> {
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
