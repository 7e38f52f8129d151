import { refusedSource, sourceRules } from '../cluster/allowed-sources.ts';
import type { Network } from '../cluster/network.ts';
import { type LocalPod, type Node, podTitle, type Self } from '../cluster/node.ts';
import { NO_RESOURCES, type Resources } from '../cluster/resources.ts';
import { areServicesUnknown } from '../cluster/service-networks.ts';
import { aboutPod, type Problem } from '../problem.ts';
import type { Memo } from './memo.ts';
import { listed } from './stray-pods.ts';

type LocalFacts = {
  readonly network: Network;
  readonly resources?: Resources;
  readonly self: Self;
  readonly peers: readonly Node[];
  readonly pods: readonly LocalPod[];
};

/**
 * Returns the pods without the further sources that the network does not allow, or no longer: the record of a
 * pod says only what it once asked for. A pod that keeps all of its sources stays the same object.
 */
export function lawfulPods(
  { network, resources, self, peers, pods }: LocalFacts,
  memo: Memo,
): { readonly pods: readonly LocalPod[]; readonly refused: readonly Problem[] } {
  if (!pods.some(({ allowedSources }) => allowedSources)) return { pods, refused: [] };
  const rules = memo.sourceRules([network, resources, self, peers], () =>
    sourceRules({ network, resources, host: self.host, nodes: [self.node, ...peers] }),
  );
  const lawful = memo.sources.of(pods, JSON.stringify(rules), (pod) => {
    const { allowedSources: asked, ...others } = pod;
    const allowed = asked?.filter((cidr) => refusedSource(cidr, rules) === undefined);
    if (allowed?.length === asked?.length) return pod;
    return allowed?.length ? { ...others, allowedSources: allowed } : others;
  });
  const refused = pods.flatMap((pod, i) =>
    pod === lawful[i]
      ? []
      : (pod.allowedSources ?? []).flatMap((cidr) => {
          const reason = refusedSource(cidr, rules);
          return reason === undefined ? [] : [{ pod, what: `${cidr} ${reason}` }];
        }),
  );
  if (refused.length === 0) return { pods: lawful, refused: [] };
  const problem: Problem = {
    id: 'pod-sources-refused',
    severity: 'error',
    what: `pods may not send from networks that their annotation allowedSourcePrefixes names: ${listed(refused.map(({ pod, what }) => `${podTitle(pod)}: ${what}`))}`,
    fix: 'list the networks in allowedSources of the network’s configuration, or recreate the pods without the annotation',
    pods: refused.map(({ pod, what }) => aboutPod(pod, `it may not send from ${what}`)),
  };
  return { pods: lawful, refused: [problem] };
}

/**
 * Warns that no pod can be kept from posing as a Service, since nobody has said which networks are theirs.
 * The Kubernetes API need not tell: its ServiceCIDR objects are younger than most clusters.
 */
export function unknownServices(network: Network, resources: Resources = NO_RESOURCES): readonly Problem[] {
  const { allowedSources = [] } = network;
  if (allowedSources.length === 0 || !areServicesUnknown(network, resources)) return [];
  return [
    {
      id: 'service-networks-unknown',
      severity: 'warning',
      what: `pods may be allowed to send from addresses of Services, if these are inside ${allowedSources.join(', ')}`,
      cause:
        'the network’s configuration has allowedSources, but nobody has said which networks the Services have',
      fix: 'list them in serviceNetworks of the network’s configuration, which is [] if there are none',
    },
  ];
}
