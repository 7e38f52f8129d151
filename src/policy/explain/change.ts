import { hostCidr } from '../../ip/cidr.ts';
import type { PodEntity } from '../model/entity.ts';
import type { Reason } from '../model/evaluate.ts';
import type { Known } from '../model/matcher.ts';
import { type Direction, type Policy, policyText } from '../model/policy.ts';
import { type Flow, hasPorts, protocolText } from '../model/traffic.ts';

/** The least change to what is written that would allow a denied connection. */
export function change(
  reason: Reason,
  direction: Direction,
  pod: PodEntity,
  peer: Known,
  flow: Flow,
): string {
  const closing = closingOf(reason);
  if (closing) return `correct ${policyText(closing)}, which cannot be read`;
  if (reason.kind === 'rule')
    return `change ${policyText(reason.policy)} ${reason.rule.name}, which denies it`;
  const [name] = peer.names;
  if (direction === 'egress' && name !== undefined)
    return `add to spec.egress of a ClusterNetworkPolicy of the tier Admin about the pod: ${JSON.stringify(acceptance(name, flow))}`;
  const policies = reason.kind === 'isolated' ? reason.policies : [];
  const policy = policies.find(({ kind }) => kind === 'NetworkPolicy');
  if (!policy) return `add a rule that allows it to ${policies.slice(0, 1).map(policyText).join('')}`;
  const rule = { [direction === 'ingress' ? 'from' : 'to']: [peerOf(peer, pod)], ...portsOf(flow) };
  return `add to spec.${direction} of ${policyText(policy)}: ${JSON.stringify(rule)}`;
}

function closingOf(reason: Reason): Policy | undefined {
  const policies =
    reason.kind === 'rule' ? [reason.policy] : reason.kind === 'isolated' ? reason.policies : [];
  return policies.find(({ isUnreadable }) => isUnreadable);
}

function peerOf({ ip, entities }: Known, pod: PodEntity): object {
  const other = entities.find((entity) => entity.kind === 'pod');
  if (!other) return { ipBlock: { cidr: hostCidr(ip) } };
  const podSelector = { matchLabels: other.labels };
  if (other.namespace === pod.namespace) return { podSelector };
  const matchLabels = { 'kubernetes.io/metadata.name': other.namespace };
  return { namespaceSelector: { matchLabels }, podSelector };
}

/** Only ClusterNetworkPolicies have names. */
function acceptance(name: string, { protocol, port: number }: Flow): object {
  const kind = protocolText(protocol).toLowerCase();
  const protocols = hasPorts(protocol) && [{ [kind]: { destinationPort: { number } } }];
  return { action: 'Accept', to: [{ domainNames: [name] }], ...(protocols && { protocols }) };
}

function portsOf({ protocol, port }: Flow): object {
  if (!hasPorts(protocol)) return {};
  return { ports: [{ protocol: protocolText(protocol), ...(port !== undefined && { port }) }] };
}
