import type { Fields } from '../../cluster/fields.ts';

/** Reads `order`, any number. Throws CONFIG_INVALID. */
export function readOrder(spec: Fields): number | undefined {
  const order = spec.raw('order');
  if (order === undefined) return undefined;
  if (typeof order === 'number' && Number.isFinite(order)) return order;
  throw spec.invalid('order', `must be a number, not ${JSON.stringify(order)}`);
}
