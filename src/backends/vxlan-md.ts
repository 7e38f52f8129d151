import { externalBackend } from './external.ts';

/**
 * VXLAN (RFC 7348) by one device for all peers and both families (`external`), with the VNI and the remote
 * end in each route: what Open vSwitch networks do. Its port is IANA's, as Open vSwitch's.
 */
export const vxlanMd = externalBackend({
  type: 'vxlan-md',
  idField: 'VNI',
  read: (fields) => ({
    id: fields.integer('VNI', 1, 0xffffff) ?? 1,
    port: fields.integer('Port', 0, 65535) || 4789,
  }),
  // Outer IPv4 (20) or IPv6 (40) header, UDP (8), VXLAN (8), inner Ethernet (14).
  overhead: (_options, family) => (family === 4 ? 50 : 70),
  device: () => ({ name: 'flannel-vxlan', carries: [4, 6] }),
  link: ({ port }) => ({ type: 'vxlan-external', port }),
  packets: ({ port }) => ({ type: 'vxlan-md', udp: port }),
  hasChecksums: true,
});
