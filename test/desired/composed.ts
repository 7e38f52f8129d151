import { type Desired, desiredState, type Facts } from '../../src/desired/desired.ts';
import type { Memo } from '../../src/desired/memo.ts';
import type { Contribution } from '../../src/state/contributions.ts';
import type { Item } from '../../src/state/item.ts';
import { compose } from '../state/compose.ts';

/** A desired state with all its items and warnings. */
export function composedState(facts: Facts, memo?: Memo): Desired & { readonly items: readonly Item[] } {
  const desired = desiredState(facts, memo);
  const { items, warnings } = compose(desired.contributions);
  return { ...desired, items: [...items.values()], warnings: [...warnings, ...desired.warnings] };
}

/** Wraps items as a single owner's contribution. */
export function asOne(items: readonly Item[]): Contribution[] {
  return [{ owner: { part: 'backend', name: 'this node' }, items, warnings: [] }];
}
