import { RTPROT_BOOT } from '../linux/route-protocol.ts';

/** Protocol of our routes to pods on other nodes, which BGP may advertise. */
export const OUR_PROTOCOL = 110;
/** Protocol of our routes local to the node. */
export const OUR_LOCAL_PROTOCOL = 111;
/** Routes and rules with these protocols are ours. */
export const OUR_PROTOCOLS: ReadonlySet<number> = new Set([OUR_PROTOCOL, OUR_LOCAL_PROTOCOL]);
/**
 * Whether a route in a slot of ours may be replaced: ours, or one of protocol boot, which ip(8), flannel and
 * boot scripts leave behind and routing daemons take over. Any other belongs to a program or to an
 * administrator, who overrides routing daemons by `proto static` (ip-route(8)).
 */
export function mayReplaceRoute(protocol: number): boolean {
  return OUR_PROTOCOLS.has(protocol) || protocol === RTPROT_BOOT;
}
/** Prefix of the ifalias of links that we create. */
export const OUR_ALIAS = 'flatnet';

/** Whether an nftables table is ours. Earlier versions had a single one, `flatnet`. */
export function isOurTable(name: string): boolean {
  return name === 'flatnet' || name.startsWith('flatnet-');
}
