import { word } from '../../cluster/calico/spec.ts';
import type { Fields } from '../../cluster/fields.ts';
import { attempt } from '../model/object.ts';
import type { PolicyId, Staged } from '../model/policy.ts';

/** Calico's own assistants write policies that learn; these are not to be enforced, either. */
const ACTIONS = { Set: 'set', Delete: 'delete', Learn: 'ignore', Ignore: 'ignore' } as const;

/** Reads `stagedAction` of a staged policy, which would replace that of the same name. */
export function readStaged(spec: Fields, replaces: PolicyId): Staged {
  const words = Object.keys(ACTIONS) as (keyof typeof ACTIONS)[];
  return { action: ACTIONS[word(spec, 'stagedAction', words) ?? 'Set'], replaces };
}

/** The same of a policy that cannot be read. */
export function closedStaged(spec: Fields, replaces: PolicyId): Staged {
  return attempt(() => readStaged(spec, replaces)) ?? { action: 'set', replaces };
}
