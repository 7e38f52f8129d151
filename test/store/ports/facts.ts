import { readNetwork } from '../../../src/cluster/network.ts';
import type { NodeFacts } from '../../../src/cluster/node.ts';
import { parseIp } from '../../../src/ip/address.ts';

/** 62 subnets, one of them skipped. */
export const LEASES = readNetwork({ Network: '10.5.0.0/18', SubnetLen: 24, Backend: { Type: 'vxlan' } });
export const DUAL = readNetwork({
  Network: '10.5.0.0/18',
  SubnetLen: 24,
  EnableIPv6: true,
  IPv6Network: 'fd00:5::/58',

  Backend: { Type: 'vxlan' },
});
export const BLOCKS = readNetwork({
  Network: '10.5.0.0/16',
  addresses: 'blocks',
  wiring: 'routed',
  Backend: { Type: 'bgp' },
});

/** Node number `i`, at 192.0.2.`i` and, with `dual`, 2001:db8::`i`. */
export function facts(i: number, over: Partial<NodeFacts> & { readonly dual?: boolean } = {}): NodeFacts {
  const { dual = false, ...rest } = over;
  return {
    name: `node${i}`,
    labels: { number: `${i}` },
    addresses: { 4: parseIp(`192.0.2.${i}`), ...(dual && { 6: parseIp(`2001:db8::${i}`) }) },
    backend: { type: 'vxlan', data: { 4: { VNI: 1 } } },
    ...rest,
  };
}
