import type { FlatnetError } from '../../error.ts';
import type { MonitorEvent } from '../../linux/event.ts';
import type { DumpRequest, Request } from '../../linux/netlink/message.ts';
import { type AnyItem, type Change, type Device, type Items, isOf, type Kind } from '../kind.ts';

/** The index of a device. Throws NOT_FOUND, though `blockedBy` has already excluded absent devices. */
export type Index = (name: string) => number;
export type NameOf = (index: number) => string | undefined;

/** A change made by others; the executor itself handles our own changes and lost events. */
export type RtnetlinkEvent = Extract<MonitorEvent, { readonly object: string }>;

/** The desired state, and the devices as last read. */
export type View = {
  readonly desired: Items;
  readonly devices: ReadonlyMap<string, Device & { readonly index: number }>;
  readonly nameOf: NameOf;
};

/** `involves`: whether the desired state involves a device. */
export type EventView = View & { readonly involves: (device: string) => boolean };

/** A kind covered by rtnetlink's notifications. */
export interface Listener {
  /** Names what contradicts the desired state in an event; undefined for no contradiction in this kind. */
  contradiction(event: RtnetlinkEvent, view: EventView): string | undefined;
}

/** A query for one object or for a list. */
export type Single<I> = { readonly by: 'get' | 'dump'; readonly request: DumpRequest<I> };

/** A kind of item read and changed through rtnetlink. */
export interface RtnetlinkKind<I extends AnyItem> extends Kind<I>, Listener {
  readonly executor: 'rtnetlink';
  /** Dumps that contain all desired items and all of ours; their values are items. */
  dumps(view: View): readonly DumpRequest<I>[];
  /** Queries one item, or a few including it. Absent or undefined: only a full dump will do. */
  single?(item: I, index: Index, nameOf: NameOf): Single<I> | undefined;
  /** The requests that make the change, sent in order; a failed one does not stop the rest. */
  requests(change: Change<I>, index: Index): readonly Request[];
  /**
   * Requests once the others, or their alternative, have succeeded, such as the removal of what is replaced.
   * Absent: none.
   */
  afterwards?(change: Change<I>, index: Index): readonly Request[];
  /**
   * Whether an error can be ignored because the result already exists. Absent: never, except when deleting a
   * missing object.
   */
  isBenign?(change: Change<I>, error: FlatnetError): boolean;
  /** An alternative to a refused change. Absent or undefined: none. */
  fallback?(change: Change<I>, errno: string, index: Index): readonly Request[] | undefined;
  /** Replaces a refusal with a better explanation than the kernel's. */
  explain?(change: Change<I>, error: FlatnetError): FlatnetError;
}

/** A dump whose values are items; `itemOf` filters out the rest. */
export function itemsOf<T, I extends AnyItem>(
  dump: DumpRequest<T>,
  itemOf: (value: T) => I | undefined,
): DumpRequest<I> {
  return {
    ...dump,
    decode: (message) => {
      const value = dump.decode(message);
      return value === undefined ? undefined : itemOf(value);
    },
  };
}

/** Returns the item's key if its presence, or absence (`gone`), contradicts the desired state. */
export function contradictedKey<I extends AnyItem>(
  kind: Kind<I>,
  item: I,
  gone: boolean,
  desired: Items,
): string | undefined {
  const key = kind.key(item);
  const wanted = desired.get(key);
  if (!isOf(kind, wanted)) return !gone && kind.isOurs(item, desired) ? key : undefined;
  const satisfies = kind.satisfies ?? kind.same;
  return gone || !satisfies(item, wanted) ? key : undefined;
}
