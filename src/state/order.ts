import { type Change, deviceOf, keyOf, kindOf, parentOf } from './item.ts';
import { type Devices, STAGES, type Stage } from './kind.ts';

const PLACES = new Map(STAGES.map((stage, place) => [stage, place]));

/**
 * The safe order, as stages: the changes of one list may be made at once, the lists one after another. See
 * `STAGES`.
 */
export function order(changes: readonly Change[]): Change[][] {
  /** By place; removal takes the places behind those of making. */
  const lists: Change[][] = Array.from({ length: 2 * STAGES.length + 1 }, () => []);
  const put = (change: Change, stage: Stage): void => {
    const place = PLACES.get(stage) ?? 0;
    const later = change.action === 'delete' && !kindOf(change.item).isRemovedInPlace;
    lists[later ? 2 * STAGES.length - place : place]?.push(change);
  };
  /** The keys of devices that are made. */
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

/**
 * Why a change cannot be made now, or undefined. Blocked changes wait until the device appears.
 */
export function blockedBy(change: Change, devices: Devices): string | undefined {
  const dev = deviceOf(change.item);
  if (dev !== undefined && !devices.has(dev)) return `device ${dev} is absent`;
  return kindOf(change.item).blockedBy?.(change, devices);
}
