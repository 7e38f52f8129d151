import { parseIp } from '../../../src/ip/address.ts';
import { collectPolicies, type Written } from '../../../src/policy/collect.ts';
import { type Compiled, compilePolicies } from '../../../src/policy/compile/compile.ts';
import type { PolicyFacts } from '../../../src/policy/compile/facts.ts';
import type { PodEntity } from '../../../src/policy/model/entity.ts';

/** A pod of the namespace default, with `app` for a label. */
export function podOf(name: string, ip: string): PodEntity {
  return {
    kind: 'pod',
    namespace: 'default',
    name,
    labels: { app: name },
    namespaceLabels: {},
    serviceAccount: 'default',
    serviceAccountLabels: {},
    ports: [],
    addresses: [parseIp(ip)],
  };
}

/** Policies about pods that are all on one node. */
export function compiledFor(
  pods: readonly PodEntity[],
  written: readonly Written[],
  more: Partial<PolicyFacts> = {},
): Compiled & { readonly facts: PolicyFacts } {
  const facts: PolicyFacts = {
    tiers: collectPolicies(written).tiers,
    entities: pods,
    names: new Map(),
    subjects: pods.map((pod) => ({ pod, nets: [] })),
    subnets: [],
    families: [4],
    devices: 'fltp',
    bridge: 'cni0',
    ...more,
  };
  return { ...compilePolicies(facts), facts };
}

/** Clients may reach port 80 of web, and nobody may reach it from elsewhere. */
export const WEB: Written = {
  kind: 'NetworkPolicy',
  namespace: 'default',
  name: 'web',
  spec: {
    podSelector: { matchLabels: { app: 'web' } },
    ingress: [
      {
        from: [{ podSelector: { matchLabels: { app: 'client' } } }],
        ports: [{ port: 80 }, { protocol: 'UDP', port: 53 }],
      },
    ],
  },
};
