const POOL = { Network: '10.244.0.0/16', SubnetMax: '10.244.127.0' };
const POOL6 = { EnableIPv6: true, IPv6Network: 'fd10::/56', IPv6SubnetMax: 'fd10:0:0:7f::' };

/** Network configurations by name; the upper half of each is reserved for foreign nodes. */
export const NETWORKS = {
  vxlan: { ...POOL, Backend: { Type: 'vxlan' } },
  'host-gw': { ...POOL, Backend: { Type: 'host-gw' } },
  'udp dual stack': { ...POOL, ...POOL6, Backend: { Type: 'udp' } },
  'vxlan dual stack': { ...POOL, ...POOL6, Backend: { Type: 'vxlan' } },
};
