import { externalBackend } from './external.ts';

/** Its number among IP protocols. */
const GRE_PROTOCOL = 47;

/**
 * Ethernet in GRE (RFC 2784), as Open vSwitch's GRE ports send it: a device for each family's underlay, with
 * the remote end and the key in each route. Networks that block or mangle UDP may let it pass, and the other
 * way around.
 */
export const gre = externalBackend({
  type: 'gre',
  idField: 'Key',
  read: (fields) => ({ id: fields.integer('Key', 0, 0xffffffff) ?? 0, port: 0 }),
  // Outer IPv4 (20) or IPv6 (40) header, GRE (4), a key (4) unless it is 0, inner Ethernet (14).
  overhead: ({ id }, family) => (family === 4 ? 38 : 58) + (id === 0 ? 0 : 4),
  device: (family) => ({ name: family === 4 ? 'flannel-gre' : 'flannel-gre6', carries: [family] }),
  link: (_options, family) => ({ type: family === 4 ? 'gretap' : 'ip6gretap' }),
  packets: () => ({ type: 'gre', protocol: GRE_PROTOCOL }),
  // Linux 6.1 drops packets with GRE's own (RFC 2784 §2.3) that it sent itself.
  hasChecksums: false,
});
