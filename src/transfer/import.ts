import { FlatnetError, messageOf } from '../error.ts';
import type { Store } from '../store/ports/store.ts';
import type { Change } from './change.ts';
import { changesOf } from './changes.ts';
import type { Contents } from './contents.ts';

export type ImportOptions = {
  /** Only say what would happen. */
  readonly dryRun: boolean;
  /** Replace what is different. */
  readonly replace: boolean;
};

export type Imported = { readonly object: string; readonly outcome: 'created' | 'replaced' | 'unchanged' };

/** Differences beyond this number are only counted. */
const SHOWN = 10;

/**
 * Writes contents into a store. Before the first is written, all are compared with what is there: throws
 * STORE_CONFLICT naming what is different, unless `replace`, and what cannot be written at all. If a write
 * fails after all, doing it again completes the work.
 */
export async function importStore(
  contents: Contents,
  store: Store,
  options: ImportOptions,
): Promise<Imported[]> {
  const changes = await changesOf(contents, store);
  refuse(
    changes.filter(({ state }) => state === 'refused'),
    'correct that first',
  );
  if (!options.replace) {
    refuse(
      changes.filter(({ state }) => state === 'different'),
      'add --replace to overwrite it',
    );
  }
  const due = changes.filter(({ state }) => state !== 'same');
  if (!options.dryRun) await write(due);
  return changes.map(({ object, state }) => ({ object, outcome: outcomeOf(state) }));
}

async function write(changes: readonly Change[]): Promise<void> {
  let [done, object] = [0, ''];
  try {
    for (const { announce, object: title } of changes) {
      object = title;
      await announce?.();
    }
    for (const change of changes) {
      object = change.object;
      await change.write();
      done++;
    }
  } catch (cause) {
    throw new FlatnetError(`${messageOf(cause)}; ${done} of ${changes.length} objects are written`, {
      code: cause instanceof FlatnetError ? cause.code : 'INTERNAL',
      operation: 'store import',
      object,
      fix: 'import again: what is written stays, and the rest follows',
      cause,
    });
  }
}

function refuse(changes: readonly Change[], fix: string): void {
  if (changes.length === 0) return;
  const lines = changes.slice(0, SHOWN).map(({ object, why }) => `${object}: ${why}`);
  if (changes.length > SHOWN) lines.push(`${changes.length - SHOWN} more`);
  throw new FlatnetError(`nothing was written, as the store has other contents: ${lines.join('; ')}`, {
    code: 'STORE_CONFLICT',
    operation: 'store import',
    fix,
  });
}

function outcomeOf(state: Change['state']): Imported['outcome'] {
  if (state === 'same') return 'unchanged';
  return state === 'absent' ? 'created' : 'replaced';
}
