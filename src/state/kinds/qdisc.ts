import {
  INGRESS_HANDLE,
  type Qdisc,
  qdiscAdd,
  qdiscChange,
  qdiscDelete,
  qdiscDump,
  type Tbf,
} from '../../linux/qdisc.ts';
import { equal } from '../kind.ts';
import { contradictedKey, itemsOf, type NameOf, type RtnetlinkKind } from '../protocols/rtnetlink.ts';

/** A token bucket for what a device sends, or the place for filters of what it receives. */
export type QdiscItem = {
  readonly kind: 'qdisc';
  readonly dev: string;
  readonly qdisc: ({ readonly type: 'tbf' } & Tbf) | { readonly type: 'ingress' };
};

/** The handle of our token buckets: one with any other handle is somebody else's. */
const TBF_HANDLE = 0xf1a70000;
/** The kernel's rounding of the burst, in bytes and relative. */
const ROUNDING = { bytes: 64, relative: 0.001 };

export const qdisc: RtnetlinkKind<QdiscItem> = {
  kind: 'qdisc',
  executor: 'rtnetlink',
  key: ({ dev, qdisc: { type } }) => `qdisc ${dev} ${type === 'tbf' ? 'root' : 'ingress'}`,
  device: ({ dev }) => dev,
  stage: () => 'queues',
  // The ingress discipline stays: it goes with the device.
  isOurs: ({ qdisc: { type } }) => type === 'tbf',
  same: (a, b) => a.dev === b.dev && isSame(a.qdisc, b.qdisc),

  dumps: ({ nameOf }) => [itemsOf(qdiscDump(), (value) => itemOf(value, nameOf))],
  requests: ({ action, item, was }, index) => {
    const value = disciplineOf(item, index(item.dev));
    if (action === 'delete') return [qdiscDelete(value)];
    return [was && action === 'change' ? qdiscChange(value) : qdiscAdd(value)];
  },
  isBenign: ({ action, item }, { errno }) =>
    (action === 'add' && item.qdisc.type === 'ingress' && errno === 'EEXIST') ||
    (action === 'delete' && errno === 'EINVAL'),
  contradiction: (event, { desired, nameOf }) => {
    if (event.object !== 'qdisc') return undefined;
    const item = itemOf(event.value, nameOf);
    return item && contradictedKey(qdisc, item, event.type === 'del', desired);
  },

  command: ({ dev, qdisc: wanted }, action) => {
    if (wanted.type === 'ingress') return `tc qdisc ${action === 'add' ? 'add' : 'del'} dev ${dev} ingress`;
    if (action === 'delete') return `tc qdisc del dev ${dev} root`;
    const { rate, burst, limit } = wanted;
    return `tc qdisc replace dev ${dev} root handle f1a7: tbf rate ${8 * rate}bit burst ${burst} limit ${limit}`;
  },
};

function disciplineOf({ qdisc: wanted }: QdiscItem, dev: number): Qdisc {
  if (wanted.type === 'ingress') return { dev, at: 'ingress', handle: INGRESS_HANDLE, kind: 'ingress' };
  return { dev, at: 'root', handle: TBF_HANDLE, kind: 'tbf', tbf: wanted };
}

/** Undefined for disciplines that are not ours. */
function itemOf({ dev, at, handle, kind, tbf }: Qdisc, nameOf: NameOf): QdiscItem | undefined {
  const name = nameOf(dev);
  if (name === undefined) return undefined;
  if (at === 'ingress' && kind === 'ingress') return { kind: 'qdisc', dev: name, qdisc: { type: 'ingress' } };
  if (at !== 'root' || handle !== TBF_HANDLE || !tbf) return undefined;
  return { kind: 'qdisc', dev: name, qdisc: { type: 'tbf', ...tbf } };
}

function isSame(a: QdiscItem['qdisc'], b: QdiscItem['qdisc']): boolean {
  if (a.type === 'ingress' || b.type === 'ingress') return equal(a, b);
  const difference = Math.abs(a.burst - b.burst);
  const isRounded = difference <= Math.max(ROUNDING.bytes, ROUNDING.relative * b.burst, b.rate * 128e-9);
  return a.rate === b.rate && a.limit === b.limit && isRounded;
}
