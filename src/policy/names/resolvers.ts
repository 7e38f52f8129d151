import { type Ip, isIp, parseIp } from '../../ip/address.ts';
import { type Cidr, contains, hostCidr, parseCidr } from '../../ip/cidr.ts';
import type { Entity } from '../model/entity.ts';

/** The namespace and the label of DNS pods, in every distribution, whatever their program. */
const NAMESPACE = 'kube-system';
const LABEL = 'k8s-app';
const VALUE = 'kube-dns';

/** This host's own: no pod's questions lead there. */
const LOOPBACK = ['127.0.0.0/8', '::1/128'].map(parseCidr);

/**
 * Whose answers are believed: of the cluster's DNS pods, of the node's own resolvers, and of those that the
 * configuration names. None of these networks lies in another.
 */
export function trusted(
  entities: readonly Entity[],
  node: readonly Ip[],
  configured: readonly Cidr[],
): readonly Cidr[] {
  const pods = entities.flatMap((entity) =>
    entity.kind === 'pod' && entity.namespace === NAMESPACE && entity.labels[LABEL] === VALUE
      ? entity.addresses
      : [],
  );
  const all = [...new Set([...[...pods, ...node].map(hostCidr), ...configured])];
  return all.filter((net) => !all.some((other) => other !== net && contains(other, net))).sort();
}

/** The servers of a resolv.conf(5) that pods may have, too. */
export function nameservers(text: string): readonly Ip[] {
  const found = text.split('\n').flatMap((line) => {
    const [keyword, server = ''] = line.trim().split(/\s+/);
    return keyword === 'nameserver' && isIp(server) ? [parseIp(server)] : [];
  });
  return found.filter((ip) => !LOOPBACK.some((net) => contains(net, ip)));
}
