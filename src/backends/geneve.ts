import { externalBackend } from './external.ts';

/** Geneve (RFC 8926) by one device for all peers and both families, with the remote end in each route. */
export const geneve = externalBackend({
  type: 'geneve',
  idField: 'VNI',
  read: (fields) => ({
    id: fields.integer('VNI', 1, 0xffffff) ?? 1,
    port: fields.integer('Port', 0, 65535) || 6081,
  }),
  // Outer IPv4 (20) or IPv6 (40) header, UDP (8), Geneve without options (8), inner Ethernet (14).
  overhead: (_options, family) => (family === 4 ? 50 : 70),
  device: () => ({ name: 'flannel-geneve', carries: [4, 6] }),
  link: ({ port }) => ({ type: 'geneve', port }),
  packets: ({ port }) => ({ type: 'geneve', udp: port }),
  hasChecksums: true,
});
