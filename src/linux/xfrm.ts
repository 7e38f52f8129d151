import { attributesOf, type DumpRequest, Writer } from './netlink/message.ts';

export const NETLINK_XFRM = 6;
/** linux/xfrm.h. */
const XFRM_MSG_GETSPDINFO = 0x25;
const XFRMA_SPD_INFO = 1;
/** Of a struct xfrmu_spdinfo: policies for what comes in, goes out and passes. */
const COUNTS = [0, 4, 8] as const;

/** How many IPsec policies there are, like `ip xfrm policy count`. */
export function xfrmPolicyCount(): DumpRequest<number> {
  return {
    operation: 'xfrm policy count',
    object: 'all',
    type: XFRM_MSG_GETSPDINFO,
    flags: 0,
    payload: new Writer().header(4, () => {}).finish(),
    decode: ({ payload }) => {
      const info = attributesOf(payload, 4).get(XFRMA_SPD_INFO);
      return info && COUNTS.reduce<number>((sum, at) => sum + info.readUInt32LE(at), 0);
    },
  };
}
