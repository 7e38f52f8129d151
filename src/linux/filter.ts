import {
  attributesIn,
  attributesOf,
  type DumpRequest,
  type Message,
  NLM_F_CREATE,
  NLM_F_EXCL,
  type Request,
  stringOf,
  type Writer,
} from './netlink/message.ts';
import { INGRESS_HANDLE, TCA_KIND, TCA_OPTIONS, TCMSG_SIZE, tcWriter } from './qdisc.ts';

/** linux/rtnetlink.h, pkt_cls.h and tc_act/tc_mirred.h. */
export const RTM_NEWTFILTER = 44;
export const RTM_DELTFILTER = 45;
const RTM_GETTFILTER = 46;
const ETH_P_ALL = 0x0003;
const TCA_U32_SEL = 5;
const TCA_U32_ACT = 7;
const TC_U32_TERMINAL = 1;
const TCA_ACT_KIND = 1;
const TCA_ACT_OPTIONS = 2;
const TCA_MIRRED_PARMS = 2;
const TCA_EGRESS_REDIR = 1;
const TC_ACT_STOLEN = 4;
/** struct tc_u32_sel with one key of struct tc_u32_key. */
const U32_SEL_SIZE = 32;
const MIRRED_SIZE = 28;

/** Sends everything that a device receives through another device first, such as an ifb. */
export type Redirect = {
  /** Interface index. */
  readonly dev: number;
  /** The order among the device's filters. */
  readonly priority: number;
  /** The index of the other device. */
  readonly to: number;
};

/**
 * Like `tc filter add dev DEV parent ffff: prio P u32 match u32 0 0 action mirred egress redirect dev TO`.
 * The device needs its ingress discipline.
 */
export function redirectAdd({ dev, priority, to }: Redirect): Request {
  const sel = Buffer.alloc(U32_SEL_SIZE);
  sel.writeUInt8(TC_U32_TERMINAL, 0);
  // One key, whose mask of zeros matches everything.
  sel.writeUInt8(1, 2);
  const mirred = Buffer.alloc(MIRRED_SIZE);
  mirred.writeInt32LE(TC_ACT_STOLEN, 8);
  mirred.writeInt32LE(TCA_EGRESS_REDIR, 20);
  mirred.writeUInt32LE(to, 24);
  return {
    operation: 'filter add',
    object: `redirect on ${dev}`,
    type: RTM_NEWTFILTER,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    payload: writer(dev, priority)
      .string(TCA_KIND, 'u32')
      .nested(TCA_OPTIONS, (options) =>
        options
          .bytes(TCA_U32_SEL, sel)
          .nested(TCA_U32_ACT, (actions) =>
            actions.nested(1, (action) =>
              action
                .string(TCA_ACT_KIND, 'mirred')
                .nested(TCA_ACT_OPTIONS, (parms) => parms.bytes(TCA_MIRRED_PARMS, mirred)),
            ),
          ),
      )
      .finish(),
  };
}

/** Removes all filters of the priority. */
export function redirectDelete({ dev, priority }: Pick<Redirect, 'dev' | 'priority'>): Request {
  return {
    operation: 'filter delete',
    object: `redirect on ${dev}`,
    type: RTM_DELTFILTER,
    flags: 0,
    payload: writer(dev, priority).finish(),
  };
}

/** The redirections among a device's filters, like `tc filter show dev DEV parent ffff:`. */
export function redirectDump(dev: number): DumpRequest<Redirect> {
  return {
    operation: 'filter show',
    object: `${dev}`,
    type: RTM_GETTFILTER,
    flags: 0,
    payload: tcWriter(dev, 0, INGRESS_HANDLE).finish(),
    decode: decodeRedirect,
    // The device has no ingress discipline.
    emptyOn: 'EINVAL',
  };
}

/**
 * Decodes RTM_DELTFILTER: the device, and the priority; 0 for all. The kernel does not announce filters one
 * by one when all of a device or a priority go.
 */
export function decodeFilterLoss({ payload }: Message): Pick<Redirect, 'dev' | 'priority'> {
  return { dev: payload.readInt32LE(4), priority: payload.readUInt32LE(16) >>> 16 };
}

/** Decodes RTM_NEWTFILTER; undefined for other filters. */
export function decodeRedirect({ payload }: Message): Redirect | undefined {
  const attributes = attributesOf(payload, TCMSG_SIZE);
  const [kind, options] = [attributes.get(TCA_KIND), attributes.get(TCA_OPTIONS)];
  if (!kind || !options || stringOf(kind) !== 'u32') return undefined;
  const actions = attributesOf(options).get(TCA_U32_ACT);
  const [first] = actions ? [...attributesIn(actions)] : [];
  const action = first && attributesOf(first[1]);
  const name = action?.get(TCA_ACT_KIND);
  const parms = action?.get(TCA_ACT_OPTIONS);
  const mirred = parms && attributesOf(parms).get(TCA_MIRRED_PARMS);
  if (!name || stringOf(name) !== 'mirred' || !mirred || mirred.length < MIRRED_SIZE) return undefined;
  if (mirred.readInt32LE(20) !== TCA_EGRESS_REDIR) return undefined;
  const priority = payload.readUInt32LE(16) >>> 16;
  return { dev: payload.readInt32LE(4), priority, to: mirred.readUInt32LE(24) };
}

/** `info` holds the priority, and the protocol in network byte order. */
function writer(dev: number, priority: number): Writer {
  return tcWriter(dev, 0, INGRESS_HANDLE, ((priority << 16) | (ETH_P_ALL << 8)) >>> 0);
}
