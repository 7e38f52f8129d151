export const RTPROT_KERNEL = 2;
export const RTPROT_BOOT = 3;
export const RTPROT_BIRD = 12;

/** Names of route protocols as in ip(8)'s rt_protos. */
const PROTOCOL_NAMES: Readonly<Record<number, string>> = {
  1: 'redirect',
  [RTPROT_KERNEL]: 'kernel',
  [RTPROT_BOOT]: 'boot',
  4: 'static',
  8: 'gated',
  9: 'ra',
  10: 'mrt',
  11: 'zebra',
  [RTPROT_BIRD]: 'bird',
  14: 'xorp',
  16: 'dhcp',
  18: 'keepalived',
  42: 'babel',
  186: 'bgp',
  187: 'isis',
  188: 'ospf',
  189: 'rip',
  192: 'eigrp',
};

/** A route protocol as `ip route` writes it: a name, or a number that has none. */
export function protocolName(protocol: number): string {
  return PROTOCOL_NAMES[protocol] ?? `${protocol}`;
}
