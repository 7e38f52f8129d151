import { type Change, deviceOf, keyOf, kindOf, parentOf } from './item.ts';
import { type Devices, STAGES, type Stage } from './kind.ts';

/** The safe order, as stages: what is in one list may be done at once, the lists one after the other. See `STAGES`. */
export function order(changes: readonly Change[]): Change[][] {
  const stages = new Map<number, Change[]>();
  const put = (change: Change, stage: Stage): void => {
    const place = placeOf(change, stage);
    const list = stages.get(place);
    if (list) list.push(change);
    else stages.set(place, [change]);
  };
  const steps = changes.flatMap((change) => kindOf(change.item).steps?.(change) ?? [change]);
  /** The keys of devices that are made. */
  const made = new Set<string>();
  for (const change of steps) {
    const { action, item } = change;
    const kind = kindOf(item);
    if (!kind.provides) continue;
    const stage = kind.stage(item, action === 'add' || action === 'recreate');
    if (stage === 'devices') made.add(keyOf(item));
    put(change, stage);
  }
  for (const change of steps) {
    const { item } = change;
    const kind = kindOf(item);
    if (!kind.provides) put(change, kind.stage(item, made.has(parentOf(item) ?? '')));
  }
  return [...stages].sort(([a], [b]) => a - b).map(([, list]) => list);
}

/** What goes, goes backwards after everything that comes, unless its kind says otherwise. */
function placeOf({ action, item }: Change, stage: Stage): number {
  const place = STAGES.indexOf(stage);
  const later = action === 'delete' && !kindOf(item).isRemovedInPlace;
  return later ? 2 * STAGES.length - place : place;
}

/** Why a change cannot be made now, or undefined. What is blocked waits; the arrival of the device sets it going. */
export function blockedBy(change: Change, devices: Devices): string | undefined {
  const dev = deviceOf(change.item);
  if (dev !== undefined && !devices.has(dev)) return `device ${dev} is absent`;
  return kindOf(change.item).blockedBy?.(change, devices);
}
