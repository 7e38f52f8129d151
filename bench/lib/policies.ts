import { nthIp, parseCidr } from '../../src/ip/cidr.ts';
import { collectPolicies, type Written } from '../../src/policy/collect.ts';
import type { PolicyFacts } from '../../src/policy/compile/facts.ts';
import type { PodEntity } from '../../src/policy/model/entity.ts';
import type { Tier } from '../../src/policy/model/policy.ts';
import { PORT } from './policy-node.ts';

// Pods of a cluster, and policies about one of them, the server.

export const CLUSTER = parseCidr('10.0.0.0/16');
/** Kinds of clients that the rules tell apart. */
export const APPS = 100;

/** The first two are the benchmark's. */
export function pod(i: number): PodEntity {
  return {
    kind: 'pod',
    namespace: 'default',
    name: `pod${i}`,
    labels: { app: i === 1 ? 'server' : `app${i % APPS}`, name: `pod${i}`, all: '' },
    namespaceLabels: {},
    serviceAccount: 'default',
    serviceAccountLabels: {},
    ports: [],
    addresses: [nthIp(CLUSTER, i + 1)],
  };
}

export function podsOf(count: number): readonly PodEntity[] {
  return Array.from({ length: count }, (_, i) => pod(i));
}

export function policyOf(name: string, spec: object): Written {
  return { kind: 'NetworkPolicy', namespace: 'default', name, spec };
}

/** The server's: a rule for each port of each kind of clients. The last but one is for TCP. */
export function policy(name: string, apps: readonly number[], ports: readonly number[]): Written {
  const ingress = apps.flatMap((app) =>
    ports.map((port) => ({
      from: [{ podSelector: { matchLabels: { app: `app${app}` } } }],
      ports: [{ protocol: 'UDP', port }],
    })),
  );
  const last = ingress.at(-1);
  if (ingress.length > 1 && last)
    ingress.splice(-2, 1, { ...last, ports: [{ protocol: 'TCP', port: PORT }] });
  return policyOf(name, { podSelector: { matchLabels: { app: 'server' } }, ingress });
}

/** One policy of so many rules; the client’s is the last. */
export function oneOf(size: number): Written {
  const perApp = Math.max(1, size / APPS);
  const ports = Array.from({ length: perApp }, (_, i) => PORT - perApp + 1 + i);
  const apps = Array.from({ length: size / perApp }, (_, i) => size / perApp - 1 - i);
  return policy('all', apps, ports);
}

export function tiersOf(written: readonly Written[]): readonly Tier[] {
  return collectPolicies(written).tiers;
}

/** `local`: how many of the pods are the node's. */
export function facts(entities: readonly PodEntity[], tiers: readonly Tier[], local = 2): PolicyFacts {
  return {
    entities,
    tiers,
    names: new Map(),
    subjects: entities.slice(0, local).map((each) => ({ pod: each, nets: [] })),
    subnets: [],
    families: [4],
    devices: 'cali',
    bridge: 'cni0',
  };
}
