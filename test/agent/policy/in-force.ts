import type { LocalPod } from '../../../src/cluster/node.ts';
import type { Ip } from '../../../src/ip/address.ts';
import { collectPolicies, type Written } from '../../../src/policy/collect.ts';
import type { Logging } from '../../../src/policy/compile/facts.ts';
import { type NodePolicies, PolicyPart } from '../../../src/policy/node/contributions.ts';
import { podOf } from '../../policy/observe/policies.ts';

/** What is in force on a node with routed pods of these names. */
export function inForceFor(
  names: ReadonlyMap<Ip, string>,
  written: readonly Written[],
  logging?: Logging,
): NodePolicies {
  const pods = [...names].map(([ip, name]) => podOf(name, ip));
  const locals = [...names].map(
    ([ip, name]): LocalPod => ({
      namespace: 'default',
      name,
      labels: {},
      containerId: name,
      ifName: 'eth0',
      wiring: 'routed',
      netns: '/n',
      addresses: [ip],
    }),
  );
  const { tiers, problems } = collectPolicies(written);
  const known = new Map(pods.map((pod) => [`default/${pod.name}`, pod]));
  return new PolicyPart().of(
    locals,
    { tiers, problems, others: [], pods: known },
    { subnets: [], families: [4], devices: 'fltp', bridge: 'cni0', logging },
  );
}
