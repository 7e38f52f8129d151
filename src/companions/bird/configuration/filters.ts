import type { BgpFilter, Community, FilterRule } from '../../../cluster/resources.ts';
import { type Family, familyOf } from '../../../ip/address.ts';
import type { Cidr } from '../../../ip/cidr.ts';
import { fnv32 } from '../../../ip/fnv.ts';
import type { BgpPool } from './facts.ts';

/** Protocol of routes that BIRD may advertise: a node's blocks and borrowed addresses. */
export const PROTOCOL_ADVERTISED = 110;
/** Protocol of routes to local pods, which no peer needs. */
export const PROTOCOL_LOCAL = 111;

/**
 * The MED of a route that another node of the cluster announces too: a router that hears both takes the
 * shorter path (RFC 4271 §9.1.2.2 c).
 */
const MED_RELAYED = 100;

/**
 * Linux accepts anything but `/` and white space in a name; BIRD's strings have no escapes, and `*` and
 * `?` are patterns.
 */
const INTERFACE = /^[!#-.0-~]{1,64}$/;

/** Quotes an interface pattern for BIRD; undefined when BIRD cannot express it. */
export function interfacePattern(pattern: string): string | undefined {
  return INTERFACE.test(pattern) ? `"${pattern}"` : undefined;
}

/** The filter for what BIRD learns from the kernel. */
export function kernelImport(family: Family, pools: readonly BgpPool[]): string {
  const bits = family === 4 ? 32 : 128;
  const inPools = netIn(family, pools);
  return `filter From_kernel${family} {
  # 200: our own blocks are ours, whatever a peer says of them.
  if krt_source = ${PROTOCOL_ADVERTISED} && (dest = RTD_BLACKHOLE || net.len = ${bits}) then { preference = 200; accept; }
  if krt_source = ${PROTOCOL_ADVERTISED} || krt_source = ${PROTOCOL_LOCAL}${inPools && ` || ${inPools}`} then reject;
  # The host's own routes, through which next hops that are not on-link resolve. They count as near as on-link ones, so
  # that equal paths are used together. Never advertised.
  igp_metric = 0;
  accept;
}
`;
}

/** The filter for what BIRD installs in the kernel. */
export const KERNEL_EXPORT = `filter To_kernel {
  if source = RTS_BGP then accept;
  reject;
}
`;

/**
 * The function that directs routes of encapsulated pools into the tunnel. The gateway is the node that owns
 * the route, and it is on-link there regardless of the underlay. A router outside the cluster that names
 * itself as next hop terminates no tunnel.
 */
export function tunnelFunction(pools: readonly BgpPool[], onLink: readonly Cidr[]): string {
  const four = pools.filter(({ cidr }) => familyOf(cidr) === 4);
  const always = netIn(
    4,
    four.filter(({ ipipMode }) => ipipMode === 'Always'),
  );
  const crossSubnet = netIn(
    4,
    four.filter(({ ipipMode }) => ipipMode === 'CrossSubnet'),
  );
  const near = onLink.filter((cidr) => familyOf(cidr) === 4).map((cidr) => `bgp_next_hop ~ ${cidr}`);
  const far = [crossSubnet, near.length > 0 && `!(${near.join(' || ')})`].filter(Boolean).join(' && ');
  const when = [always, crossSubnet && `(${far})`].filter(Boolean);
  return `function Tunnel4(bool outside) {
  if outside && bgp_next_hop = from then return true;
${when.length ? `  if ${when.join(' || ')} then { onlink = true; ifname = "tunl0"; gw = bgp_next_hop; }\n` : ''}  return true;
}
`;
}

export type Announcement = {
  readonly pools: readonly BgpPool[];
  readonly prefixAdvertisements: readonly {
    readonly cidr: Cidr;
    readonly communities: readonly Community[];
  }[];
};

/** The function that selects what peers are told. Every path through it ends in accept or reject. */
export function announceFunction(family: Family, { pools, prefixAdvertisements }: Announcement): string {
  const hidden = netIn(
    family,
    pools.filter(({ disableBgpExport }) => disableBgpExport),
  );
  const inPools = netIn(family, pools);
  const lines = [
    hidden && `if ${hidden} then reject;`,
    ...prefixAdvertisements
      .filter(({ cidr, communities }) => familyOf(cidr) === family && communities.length > 0)
      .map(({ cidr, communities }) => `if net ~ ${cidr} then { ${communities.map(addCommunity).join(' ')} }`),
    `if proto = "Kernel${family}" then { if krt_source = ${PROTOCOL_ADVERTISED} then accept; reject; }`,
    // A route of our own AS is a node's block, even if its pool is gone; routes from outside routers must lie
    // in a pool.
    `if source = RTS_BGP && (${['bgp_path.len = 0', inPools].filter(Boolean).join(' || ')}) then { if outside then bgp_med = ${MED_RELAYED}; accept; }`,
    `if outside && proto = "Services${family}" then accept;`,
    'reject;',
  ].filter(Boolean);
  return `function Announce${family}(bool outside) {\n${lines.map((line) => `  ${line}\n`).join('')}}\n`;
}

function addCommunity(community: Community): string {
  const list = community.length === 2 ? 'bgp_community' : 'bgp_large_community';
  return `${list}.add((${community.join(',')}));`;
}

/** The condition that `net` lies in one of the pools; empty when no pool is of the family. */
function netIn(family: Family, pools: readonly BgpPool[]): string {
  const cidrs = pools.map(({ cidr }) => cidr).filter((cidr) => familyOf(cidr) === family);
  return cidrs.length === 0 ? '' : `net ~ [ ${cidrs.map((cidr) => `${cidr}+`).join(', ')} ]`;
}

export type Direction = 'import' | 'export';

/**
 * The name of a BGPFilter's function. Users' names may be keywords of BIRD, contain any character, and
 * exceed its 64 characters.
 */
export function filterFunctionName(filter: string, direction: Direction, family: Family): string {
  const readable = filter.replaceAll(/[^A-Za-z0-9]/g, '_').slice(0, 32);
  const exact = fnv32(filter).toString(16).padStart(8, '0');
  return `Filter_${readable}_${exact}_${direction}${family}`;
}

/**
 * The function of a BGPFilter for one direction and family: it accepts, rejects, or leaves the decision to
 * what follows. A rule that exports everything covers only advertised routes; one of the host's own routes,
 * such as its default route, reaches peers only through a rule that names it. Nor does a rule that imports
 * everything cover the underlay's routes.
 */
export function filterFunction(filter: BgpFilter, direction: Direction, family: Family): string {
  const rules = rulesOf(filter, direction, family).map((rule) => {
    const unrestricted = rule.action === 'Accept' && !namesNetworks(rule);
    const besides = direction === 'export' ? advertised(family) : `!Is_underlay${family}()`;
    return `  ${statement(rule, unrestricted ? besides : undefined)}\n`;
  });
  return `function ${filterFunctionName(filter.name, direction, family)}() {\n${rules.join('')}  return true;\n}\n`;
}

function rulesOf(filter: BgpFilter, direction: Direction, family: Family): readonly FilterRule[] {
  if (direction === 'import') return family === 4 ? filter.importV4 : filter.importV6;
  return family === 4 ? filter.exportV4 : filter.exportV6;
}

/**
 * The condition that a route is for the peers. The others are the host's own routes, which only resolve next
 * hops.
 */
function advertised(family: Family): string {
  return `(source = RTS_BGP || proto = "Services${family}" || (proto = "Kernel${family}" && krt_source = ${PROTOCOL_ADVERTISED}))`;
}

function namesNetworks({ cidr, matchOperator }: FilterRule): boolean {
  return cidr !== undefined && matchOperator !== 'NotEqual' && matchOperator !== 'NotIn';
}

const OPERATOR = { Equal: '=', NotEqual: '!=', In: '~', NotIn: '!~' } as const;

function statement(rule: FilterRule, extra: string | undefined): string {
  const { min, max } = rule.prefixLength ?? {};
  const conditions = [
    rule.cidr && `net ${OPERATOR[rule.matchOperator ?? 'In']} ${rule.cidr}`,
    min !== undefined && `net.len >= ${min}`,
    max !== undefined && `net.len <= ${max}`,
    rule.source === 'RemotePeers' && 'source = RTS_BGP',
    rule.interface !== undefined && interfaceCondition(rule.interface),
    extra,
  ].filter((condition) => typeof condition === 'string');
  const verdict = `${rule.action.toLowerCase()};`;
  return conditions.length === 0 ? verdict : `if ${conditions.join(' && ')} then ${verdict}`;
}

/** False for a pattern that BIRD cannot express: no route matches it. */
function interfaceCondition(pattern: string): string {
  const quoted = interfacePattern(pattern);
  return quoted === undefined ? 'false' : `ifname ~ ${quoted}`;
}
