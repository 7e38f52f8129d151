import { refuseOthers, word } from '../../cluster/calico/spec.ts';
import type { Fields } from '../../cluster/fields.ts';
import type { TierSettings } from '../model/policy.ts';
import { readOrder } from './order.ts';

const ACTIONS = { Deny: 'deny', Pass: 'pass' } as const;

/**
 * Reads a Tier; without an order it is the last. One that is always there may be written, too, but not as
 * another. Throws CONFIG_INVALID naming the field.
 */
export function readTier(name: string, spec: Fields, builtIn: TierSettings | undefined): TierSettings {
  refuseOthers(spec, ['order', 'defaultAction']);
  const order = readOrder(spec) ?? builtIn?.order ?? Number.POSITIVE_INFINITY;
  const action = word(spec, 'defaultAction', ['Deny', 'Pass']);
  const otherwise = action ? ACTIONS[action] : (builtIn?.otherwise ?? 'deny');
  if (builtIn && order !== builtIn.order)
    throw spec.invalid('order', `of the tier ${name} must be ${builtIn.order}`);
  if (builtIn && otherwise !== builtIn.otherwise)
    throw spec.invalid('defaultAction', `of the tier ${name} must not be ${action}`);
  return { name, order, otherwise };
}
