import * as ct from '../../src/linux/conntrack/message.ts';
import { attributesOf, type DumpRequest } from '../../src/linux/netlink/message.ts';

/** linux/netfilter/nfnetlink_conntrack.h and nf_conntrack_common.h. */
const CTA_STATUS = 3;
const IPS_OFFLOAD = 1 << 14;

/** Like `conntrack -L --status OFFLOAD`: a value for each connection that passes through a flowtable. */
export function offloadedDump(): DumpRequest<true> {
  return {
    operation: 'conntrack list',
    object: 'offloaded',
    type: ct.CT_GET,
    flags: 0,
    payload: ct.conntrackWriter(4).finish(),
    decode: ({ payload }) => {
      const status = attributesOf(payload, ct.NFGENMSG_SIZE).get(CTA_STATUS)?.readUInt32BE() ?? 0;
      return status & IPS_OFFLOAD ? true : undefined;
    },
  };
}
