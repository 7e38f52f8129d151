import { hostCidr } from '../../ip/cidr.ts';
import { entityText, type PodEntity } from '../model/entity.ts';
import type { Reason } from '../model/evaluate.ts';
import type { Known } from '../model/matcher.ts';
import { type Direction, type Policy, policyText } from '../model/policy.ts';
import { type Flow, hasPorts, protocolText } from '../model/traffic.ts';

/** What controllers write: the next pod of the same workload has another value. */
const OF_ONE_POD: ReadonlySet<string> = new Set([
  'pod-template-hash',
  'pod-template-generation',
  'controller-revision-hash',
  'statefulset.kubernetes.io/pod-name',
  'apps.kubernetes.io/pod-index',
  'controller-uid',
  'job-name',
  'batch.kubernetes.io/controller-uid',
  'batch.kubernetes.io/job-name',
  'batch.kubernetes.io/job-completion-index',
]);

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
  const other = peer.entities.find((entity) => entity.kind === 'pod');
  const labels = other && lastingLabels(other);
  const sender = other
    ? podPeer(other, labels ?? newLabel(other), pod)
    : { ipBlock: { cidr: hostCidr(peer.ip) } };
  const rule = { [direction === 'ingress' ? 'from' : 'to']: [sender], ...portsOf(flow) };
  const first = other && !labels ? `${labelling(other)}, and ` : '';
  return `${first}add to spec.${direction} of ${policyText(policy)}: ${JSON.stringify(rule)}`;
}

function closingOf(reason: Reason): Policy | undefined {
  const policies =
    reason.kind === 'rule' ? [reason.policy] : reason.kind === 'isolated' ? reason.policies : [];
  return policies.find(({ isUnreadable }) => isUnreadable);
}

/** Those that its successors have, too. Undefined: none, and a selector without any selects all pods. */
function lastingLabels({ labels }: PodEntity): PodEntity['labels'] | undefined {
  const lasting = Object.entries(labels).filter(([key]) => !OF_ONE_POD.has(key));
  return lasting.length > 0 ? Object.fromEntries(lasting) : undefined;
}

const newLabel = ({ name }: PodEntity): PodEntity['labels'] => ({ app: name });

function labelling(pod: PodEntity): string {
  const [[key, value] = []] = Object.entries(newLabel(pod));
  return `give ${entityText(pod)} a label, such as ${key}=${value}`;
}

function podPeer({ namespace }: PodEntity, matchLabels: PodEntity['labels'], pod: PodEntity): object {
  const podSelector = { matchLabels };
  if (namespace === pod.namespace) return { podSelector };
  const ofNamespace = { 'kubernetes.io/metadata.name': namespace };
  return { namespaceSelector: { matchLabels: ofNamespace }, podSelector };
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
