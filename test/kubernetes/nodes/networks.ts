import type { Family } from '../../../src/ip/address.ts';

type ByFamily = Readonly<Record<Family, string>>;

/** How the hosts' addresses begin; the host's number follows. */
export const HOSTS: ByFamily = { 4: '172.31.77.', 6: 'fd00:31:77::' };
export const PODS: ByFamily = { 4: '10.244.0.0/16', 6: 'fd00:10:244::/56' };
export const SERVICES: ByFamily = { 4: '10.96.0.0/16', 6: 'fd00:96::/112' };
/** The API server's Service. */
export const API_SERVER: ByFamily = { 4: '10.96.0.1', 6: 'fd00:96::1' };
/** The cluster's DNS, if it has one. */
export const DNS: ByFamily = { 4: '10.96.0.10', 6: 'fd00:96::a' };

/** What net-conf.json says of the pods' networks. */
export function podNetworks(families: readonly Family[]): Readonly<Record<string, unknown>> {
  return {
    ...(families.includes(4) ? { Network: PODS[4] } : { EnableIPv4: false }),
    ...(families.includes(6) && { EnableIPv6: true, IPv6Network: PODS[6] }),
  };
}

/** A value for each family, the first family's first, as flags of Kubernetes want them. */
export function listed(families: readonly Family[], values: ByFamily): string {
  return families.map((family) => values[family]).join(',');
}

/** `address` in a URL. */
export function urlHost(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}
