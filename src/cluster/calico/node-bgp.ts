import { ofFamily, parseIp } from '../../ip/address.ts';
import type { Fields } from '../fields.ts';
import type { NodeBgp } from '../resources.ts';
import { type Fixed, parsed, refuseOthers } from './spec.ts';
import { asNumber } from './values.ts';

const OWN: Fixed = { only: [], why: "a node's agent finds and publishes its addresses itself; leave it out" };
const WIREGUARD: Fixed = { only: [], why: 'flatnet has no WireGuard; leave it out' };

/** Its labels add to those that the node's agent was started with. */
export function readNodeBgp(name: string, spec: Fields, labels: Readonly<Record<string, string>>): NodeBgp {
  refuseOthers(spec, ['bgp'], {
    addresses: { ...OWN, only: [[]] },
    orchRefs: { only: [[]], why: 'leave it out' },
    ipv4VXLANTunnelAddr: OWN,
    ipv6VXLANTunnelAddr: OWN,
    vxlanTunnelMACAddr: OWN,
    wireguard: WIREGUARD,
  });
  const bgp = spec.object('bgp');
  if (!bgp) return { name, labels };
  refuseOthers(bgp, ['asNumber', 'routeReflectorClusterID'], {
    ipv4Address: OWN,
    ipv6Address: OWN,
    ipv4IPIPTunnelAddr: OWN,
  });
  const as = asNumber(bgp, 'asNumber');
  const cluster = parsed(bgp, 'routeReflectorClusterID', (text) => ofFamily(4, parseIp(text)));
  return {
    name,
    labels,
    ...(as !== undefined && { asNumber: as }),
    ...(cluster !== undefined && { routeReflectorClusterId: cluster }),
  };
}
