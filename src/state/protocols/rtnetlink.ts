import type { FlatnetError } from '../../error.ts';
import type { MonitorEvent } from '../../linux/event.ts';
import type { DumpRequest, Request } from '../../linux/netlink/message.ts';
import { type AnyItem, type Change, type Device, type Items, isOf, type Kind } from '../kind.ts';

/** The index of a device. Throws NOT_FOUND; `blockedBy` has sorted out absent ones before. */
export type Index = (name: string) => number;
export type NameOf = (index: number) => string | undefined;

/** A change somebody made; of our own changes and of lost events only the executor knows. */
export type RtnetlinkEvent = Extract<MonitorEvent, { readonly object: string }>;

/** What is wanted, and the devices as last read. */
export type View = {
  readonly desired: Items;
  readonly devices: ReadonlyMap<string, Device & { readonly index: number }>;
  readonly nameOf: NameOf;
};

/** `concerns`: whether the desired state has anything to do with a device. */
export type EventView = View & { readonly concerns: (device: string) => boolean };

/** A kind that rtnetlink's notifications report on. */
export interface Listener {
  /** What in an event contradicts the desired state, as text; undefined if it does not concern the kind. */
  contradiction(event: RtnetlinkEvent, view: EventView): string | undefined;
}

/** A question: for one object, or for a list. */
export type Single<I> = { readonly by: 'get' | 'dump'; readonly request: DumpRequest<I> };

/** A kind of item that is read and changed by rtnetlink. */
export interface RtnetlinkKind<I extends AnyItem> extends Kind<I>, Listener {
  readonly executor: 'rtnetlink';
  /** Dumps that contain all items that are wanted or ours; their values are items. */
  dumps(view: View): readonly DumpRequest<I>[];
  /**
   * Asks for one item, or for a few including it. Absent or undefined: only a whole dump will do.
   */
  single?(item: I, index: Index, nameOf: NameOf): Single<I> | undefined;
  /**
   * What makes the change. The requests of one change are sent in order, and all of them even if one fails.
   */
  requests(change: Change<I>, index: Index): readonly Request[];
  /**
   * Whether an error does not matter, as the result is there anyway. Absent: never, except for deleting what
   * is gone.
   */
  isDone?(change: Change<I>, error: FlatnetError): boolean;
  /** Another way to make a change that was refused. Absent, or undefined: there is none. */
  detour?(change: Change<I>, errno: string, index: Index): readonly Request[] | undefined;
  /** Explains a refusal better than the kernel does. */
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

/** The item's key if its presence, or absence (`gone`), contradicts the desired state. */
export function against<I extends AnyItem>(
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
