import { asJson, type KubernetesObject } from '../api/object.ts';
import type { Name, ResourceType } from '../api/resource.ts';
import { microTime } from '../micro-time.ts';

export const LEASES: ResourceType = {
  group: 'coordination.k8s.io',
  version: 'v1',
  plural: 'leases',
  kind: 'Lease',
  namespaced: true,
};

/** The spec of a Lease object. */
export type LeaseRecord = {
  /** Empty: nobody. */
  readonly holder: string;
  /** Seconds for which a renewal is good. */
  readonly duration: number;
  /** As written: only their changes matter, no clock but one's own is trusted. */
  readonly acquired: string;
  readonly renewed: string;
  /** How often the holder has changed. */
  readonly transitions: number;
};

/** Reads a Lease; what is missing or malformed belongs to nobody. */
export function readLease(object: KubernetesObject): LeaseRecord {
  const spec = asJson(object.spec);
  const text = (name: string): string => (typeof spec[name] === 'string' ? spec[name] : '');
  const count = (name: string): number => (Number.isSafeInteger(spec[name]) ? Number(spec[name]) : 0);
  return {
    holder: text('holderIdentity'),
    duration: count('leaseDurationSeconds'),
    acquired: text('acquireTime'),
    renewed: text('renewTime'),
    transitions: count('leaseTransitions'),
  };
}

/** Returns `current`, or a new Lease, with its spec replaced. */
export function leaseObject(
  at: Name,
  current: KubernetesObject | undefined,
  record: LeaseRecord,
): KubernetesObject {
  return {
    ...(current ?? { metadata: { name: at.name, ...(at.namespace && { namespace: at.namespace }) } }),
    spec: {
      holderIdentity: record.holder,
      leaseDurationSeconds: record.duration,
      acquireTime: record.acquired,
      renewTime: record.renewed,
      leaseTransitions: record.transitions,
    },
  };
}

/** The record after `identity` takes or renews the lease. */
export function held(
  last: LeaseRecord | undefined,
  identity: string,
  duration: number,
  now: Date,
): LeaseRecord {
  const renewed = microTime(now);
  if (last?.holder === identity) return { ...last, duration, renewed };
  const transitions = last ? last.transitions + 1 : 0;
  return { holder: identity, duration, acquired: renewed, renewed, transitions };
}
