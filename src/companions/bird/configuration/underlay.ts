import type { Node } from '../../../cluster/node.ts';
import { BITS, type Family, familyOf } from '../../../ip/address.ts';
import type { Cidr } from '../../../ip/cidr.ts';
import type { Gateway } from './facts.ts';
import { PROTOCOL_ADVERTISED } from './filters.ts';

/**
 * The table by which next hops resolve: the host's own networks and routes, as the kernel has them, and
 * nothing that a peer announces. Otherwise a router that announces the nodes' networks or a default makes
 * the blocks behind them unreachable, because BIRD resolves no next hop through a route whose own next hop
 * it had to resolve.
 */
export function underlayTable(family: Family, gateways: readonly Gateway[]): string {
  return `ipv${family} table Underlay${family};

protocol pipe Underlying${family} {
  table master${family};
  peer table Underlay${family};
  import none;
  export where proto = "Direct" || (proto = "Kernel${family}" && krt_source != ${PROTOCOL_ADVERTISED});
}
${gatewayRoutes(family, gateways)}`;
}

/** BIRD does not learn these from the kernel, because it takes their gateways for unreachable. */
function gatewayRoutes(family: Family, gateways: readonly Gateway[]): string {
  const routes = gateways
    .filter(({ dst, hops }) => familyOf(dst) === family && hops.every(({ dev }) => isSymbol(dev)))
    .map(
      ({ dst, hops }) =>
        `  route ${dst} ${hops.map(({ via, dev }) => `via ${via}%'${dev}' onlink`).join(' ')};\n`,
    );
  if (routes.length === 0) return '';
  return `
protocol static Gateways${family} {
  ipv${family} {
    table Underlay${family};
    import filter { igp_metric = 0; accept; };
  };
${routes.join('')}}
`;
}

/**
 * Whether BIRD takes a device's name in apostrophes. There are no escapes, and even in apostrophes a keyword
 * remains one; none of them has a digit.
 */
function isSymbol(dev: string): boolean {
  return /^[\w.:-]+$/.test(dev) && /[0-9.:-]/.test(dev);
}

/**
 * The function that tells whether a route is the underlay's business: a default route, one to or around a
 * node's address, or one into a network of this node's underlay. A router outside the cluster replaces these
 * only if a BGPFilter says so.
 */
export function underlayFunction(
  family: Family,
  { nodes, onLink }: { readonly nodes: readonly Node[]; readonly onLink: readonly Cidr[] },
): string {
  const addresses = nodes.flatMap(({ addresses: { [family]: ip } }) => ip ?? []);
  const patterns = [
    family === 4 ? '0.0.0.0/0' : '::/0',
    // `-` also matches every network around it, `+` every network within.
    ...[...new Set(addresses)].sort().map((ip) => `${ip}/${BITS[family]}-`),
    ...onLink.filter((cidr) => familyOf(cidr) === family).map((cidr) => `${cidr}+`),
  ];
  return `function Is_underlay${family}() {
  return net ~ [ ${patterns.join(', ')} ];
}
`;
}
