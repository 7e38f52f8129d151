import { type Change, deviceOf, keyOf, kindOf, parentOf } from './item.ts';
import { type Devices, STAGES, type Stage } from './kind.ts';

const PLACES = new Map(STAGES.map((stage, place) => [stage, place]));

/**
 * Puts changes into a safe order: the changes of each list may be made together, the lists one after another.
 * See `STAGES`.
 */
export function order(changes: readonly Change[]): Change[][] {
  /** By place; removals come after all additions. */
  const lists: Change[][] = Array.from({ length: 2 * STAGES.length + 1 }, () => []);
  const put = (change: Change, stage: Stage): void => {
    const place = PLACES.get(stage) ?? 0;
    const later = change.action === 'delete' && !kindOf(change.item).isRemovedInPlace;
    lists[later ? 2 * STAGES.length - place : place]?.push(change);
  };
  /** Keys of devices being created. */
  const made = new Set<string>();
  const rest: Change[] = [];
  for (const change of changes) {
    const kind = kindOf(change.item);
    if (!kind.provides) {
      rest.push(change);
      continue;
    }
    for (const step of kind.steps?.(change) ?? [change]) {
      const stage = kind.stage(step.item, step.action === 'add' || step.action === 'recreate');
      if (stage === 'devices') made.add(keyOf(step.item));
      put(step, stage);
    }
  }
  for (const change of rest) {
    put(change, kindOf(change.item).stage(change.item, made.has(parentOf(change.item) ?? '')));
  }
  return lists.filter((list) => list.length > 0);
}

/** Why a change can't be made now, or undefined. A blocked change waits for its device. */
export function blockedBy(change: Change, devices: Devices): string | undefined {
  const dev = deviceOf(change.item);
  if (dev !== undefined && !devices.has(dev)) return `device ${dev} is absent`;
  return kindOf(change.item).blockedBy?.(change, devices);
}
