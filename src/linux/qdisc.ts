import {
  type Attributes,
  attributesOf,
  type DumpRequest,
  type Message,
  NLM_F_CREATE,
  NLM_F_EXCL,
  type Request,
  stringOf,
  Writer,
} from './netlink/message.ts';

/** linux/rtnetlink.h and pkt_sched.h. */
export const RTM_NEWQDISC = 36;
export const RTM_DELQDISC = 37;
const RTM_GETQDISC = 38;
const TC_H_ROOT = 0xffffffff;
const TC_H_INGRESS = 0xfffffff1;
/** Of the ingress discipline: the kernel allows no other. */
export const INGRESS_HANDLE = 0xffff0000;
export const TCMSG_SIZE = 20;
export const TCA_KIND = 1;
export const TCA_OPTIONS = 2;
const TCA_TBF_PARMS = 1;
const TCA_TBF_RATE64 = 4;
const TCA_TBF_BURST = 6;
/** struct tc_tbf_qopt: two struct tc_ratespec of 12 bytes, limit, buffer, mtu. */
const TBF_QOPT_SIZE = 36;
/** Rates are computed from the sizes of packets, without a table. */
const TC_LINKLAYER_ETHERNET = 1;
const MAX_U32 = 0xffffffff;
/** Nanoseconds in a tick of the packet scheduler (PSCHED_SHIFT). */
const TICK = 64;

/** A token bucket. It delays packets beyond the rate, and drops those beyond the limit. */
export type Tbf = {
  /** Bytes per second. */
  readonly rate: number;
  /** Bytes that may pass at once after a pause. */
  readonly burst: number;
  /** Bytes that may be queued. */
  readonly limit: number;
};

/** The queueing discipline at a device's root, or the one that sees what the device receives. */
export type Qdisc = {
  /** Interface index. */
  readonly dev: number;
  readonly at: 'root' | 'ingress';
  readonly handle: number;
  /** `tbf`, `ingress`, `noqueue` … */
  readonly kind: string;
  readonly tbf?: Tbf;
};

/**
 * Like `tc qdisc add dev DEV root handle H: tbf …`, or `… dev DEV ingress`. EEXIST if the device has
 * another one that somebody chose.
 */
export function qdiscAdd(qdisc: Qdisc): Request {
  return request('qdisc add', RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, qdisc);
}

/** Like `tc qdisc change`: its parameters, without losing a packet. */
export function qdiscChange(qdisc: Qdisc): Request {
  return request('qdisc change', RTM_NEWQDISC, 0, qdisc);
}

/** ENOENT or EINVAL if there is none, or another one. */
export function qdiscDelete(qdisc: Qdisc): Request {
  return request('qdisc delete', RTM_DELQDISC, 0, qdisc);
}

/** Like `tc qdisc show`, of all devices. */
export function qdiscDump(): DumpRequest<Qdisc> {
  return {
    operation: 'qdisc show',
    object: 'all devices',
    type: RTM_GETQDISC,
    flags: 0,
    payload: tcWriter(0, 0, 0).finish(),
    decode: decodeQdisc,
  };
}

/** Decodes RTM_NEWQDISC and RTM_DELQDISC; undefined below other disciplines. */
export function decodeQdisc({ payload }: Message): Qdisc | undefined {
  const parent = payload.readUInt32LE(12);
  const attributes = attributesOf(payload, TCMSG_SIZE);
  const kind = attributes.get(TCA_KIND);
  if (!kind || (parent !== TC_H_ROOT && parent !== TC_H_INGRESS)) return undefined;
  const tbf = stringOf(kind) === 'tbf' ? decodeTbf(attributes.get(TCA_OPTIONS)) : undefined;
  return {
    dev: payload.readInt32LE(4),
    at: parent === TC_H_ROOT ? 'root' : 'ingress',
    handle: payload.readUInt32LE(8),
    kind: stringOf(kind),
    ...(tbf && { tbf }),
  };
}

/** A writer with struct tcmsg. */
export function tcWriter(dev: number, handle: number, parent: number, info = 0): Writer {
  return new Writer().header(TCMSG_SIZE, (header) => {
    header.writeInt32LE(dev, 4);
    header.writeUInt32LE(handle, 8);
    header.writeUInt32LE(parent, 12);
    header.writeUInt32LE(info, 16);
  });
}

function request(operation: string, type: number, flags: number, qdisc: Qdisc): Request {
  const { dev, at, handle, kind, tbf } = qdisc;
  const writer = tcWriter(dev, handle, at === 'root' ? TC_H_ROOT : TC_H_INGRESS).string(TCA_KIND, kind);
  if (tbf && type === RTM_NEWQDISC) writer.nested(TCA_OPTIONS, (options) => writeTbf(options, tbf));
  return { operation, object: `${kind} on ${dev}`, type, flags, payload: writer.finish() };
}

function writeTbf(writer: Writer, { rate, burst, limit }: Tbf): void {
  const qopt = Buffer.alloc(TBF_QOPT_SIZE);
  qopt.writeUInt8(TC_LINKLAYER_ETHERNET, 1);
  qopt.writeUInt32LE(Math.min(rate, MAX_U32), 8);
  qopt.writeUInt32LE(limit, 24);
  writer.bytes(TCA_TBF_PARMS, qopt).u32(TCA_TBF_BURST, burst);
  if (rate < MAX_U32) return;
  const rate64 = Buffer.alloc(8);
  rate64.writeBigUInt64LE(BigInt(rate));
  writer.bytes(TCA_TBF_RATE64, rate64);
}

/** The kernel stores the burst as its duration at the rate, in ticks. */
function decodeTbf(options: Buffer | undefined): Tbf | undefined {
  const parts: Attributes | undefined = options && attributesOf(options);
  const qopt = parts?.get(TCA_TBF_PARMS);
  if (!qopt || qopt.length < TBF_QOPT_SIZE) return undefined;
  const rate64 = parts?.get(TCA_TBF_RATE64)?.readBigUInt64LE();
  const rate = rate64 === undefined ? qopt.readUInt32LE(8) : Number(rate64);
  const burst = Math.round((qopt.readUInt32LE(28) * TICK * rate) / 1e9);
  return { rate, burst, limit: qopt.readUInt32LE(24) };
}
