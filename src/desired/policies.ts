import type { Network } from '../cluster/network.ts';
import { type LocalPod, podTitle, type Self } from '../cluster/node.ts';
import type { Family } from '../ip/address.ts';
import { policyText } from '../policy/model/policy.ts';
import type { PolicyView } from '../policy/model/view.ts';
import type { KnownNames, NodePolicies, PolicyPart } from '../policy/node/contributions.ts';
import { aboutPod, excerpt, type Problem, warning } from '../problem.ts';
import type { Contribution } from '../state/contributions.ts';
import { BRIDGE } from '../wiring/bridge.ts';
import { DEVICE_PREFIX } from '../wiring/pod-device.ts';

/** Bridged packets pass the chains of IPv4 and IPv6, and so those of policies (br_netfilter). */
const BRIDGED = ['net/bridge/bridge-nf-call-iptables', 'net/bridge/bridge-nf-call-ip6tables'];

type Known = {
  readonly network: Network;
  readonly self: Self;
  readonly policies?: PolicyView | undefined;
  /** Absent: nobody listens. */
  readonly logGroup?: number | undefined;
  readonly names?: KnownNames | undefined;
};

type Enforced = {
  readonly contributions: readonly Contribution[];
  readonly warnings: readonly Problem[];
  /** Absent: nothing is enforced. */
  readonly node?: NodePolicies;
};
const NOTHING: Enforced = { contributions: [], warnings: [] };

/**
 * What a node holds for network policies: nothing where they are not enforced. As long as there are none,
 * bridged packets pass the chains all the same, so that the kernel knows the connections that the first
 * policy ends.
 */
export function policyPart(
  { network, self, policies, logGroup, names }: Known,
  pods: readonly LocalPod[],
  families: readonly Family[],
  part: PolicyPart,
): Enforced {
  if (!network.policy || !policies) return NOTHING;
  // A change of wiring leaves pods where they are.
  const isBridged = [network.wiring, ...pods.map(({ wiring }) => wiring ?? 'bridge')].includes('bridge');
  const settings = isBridged ? [BRIDGE_SETTINGS] : [];
  if (!policies.tiers.some((tier) => tier.policies.length > 0))
    return { contributions: settings, warnings: [] };
  const node = part.of(pods, policies, {
    subnets: isBridged ? self.node.subnets : [],
    families,
    devices: DEVICE_PREFIX,
    bridge: BRIDGE,
    logging: logGroup === undefined ? undefined : { group: logGroup, denied: network.policy.logDenied },
    names,
    resolvers: network.policy.resolvers,
    cuts: network.policy.onChange === 'cut',
  });
  const { contributions, waiting, compiled, uncounted } = node;
  return {
    node,
    contributions: [...settings, ...contributions],
    warnings: [
      ...policies.problems.map(unreadable),
      ...compiled.refused.map(excessive),
      ...(uncounted === undefined ? [] : [notCounted(uncounted)]),
      ...(waiting.length > 0 ? [unknown(waiting)] : []),
    ],
  };
}

const BRIDGE_SETTINGS: Contribution = {
  owner: { part: 'policy', name: 'bridged packets' },
  items: BRIDGED.map((path) => ({ kind: 'sysctl', path, value: '1' })),
  warnings: [],
};

function unreadable({ policy, problem, closes }: PolicyView['problems'][number]): Problem {
  const what = closes ? 'cannot be read, and its pods are closed' : 'cannot be read';
  return {
    id: 'policy-unreadable',
    severity: closes ? 'error' : 'warning',
    what: `${excerpt(policyText(policy), 120)} ${what}`,
    cause: excerpt(problem),
    fix: 'correct it',
  };
}

function excessive({ scope, message }: NodePolicies['compiled']['refused'][number]): Problem {
  const whose =
    scope === undefined ? 'the policies of the whole cluster' : `the policies of namespace ${scope}`;
  return {
    id: 'policies-excessive',
    severity: 'error',
    what: `${excerpt(whose, 120)} are too much for this node, and the pods that they are about are closed`,
    cause: message,
    fix: 'have fewer rules, of which fewer are about the same addresses, ports and pods',
  };
}

function notCounted(cause: string): Problem {
  return warning('staged-policies-uncounted', 'what staged policies would change is not counted', cause);
}

function unknown(pods: readonly LocalPod[]): Problem {
  return {
    id: 'pods-without-policies',
    severity: 'warning',
    what: `nobody knows which policies are about pods of this node, and nothing reaches them: ${pods.map(podTitle).join(', ')}`,
    cause: 'the store has no running pods of their names and UIDs, or not what these inherit',
    pods: pods.map((pod) => aboutPod(pod, 'nobody knows its policies, and nothing reaches it')),
  };
}
