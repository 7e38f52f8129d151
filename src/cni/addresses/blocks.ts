import { FAMILIES, type Family, familyOf, type Ip } from '../../ip/address.ts';
import { hostCidr, parsePrefixed } from '../../ip/cidr.ts';
import type { Assigner } from '../../ipam/assigner.ts';
import type { CniContext } from '../context.ts';
import { podIdentity } from '../protocol/pod.ts';
import type { RouteConfig } from '../protocol/result.ts';
import { handleOf } from '../records/attachment.ts';
import type { CniState } from '../state.ts';
import type { AddressSource } from './source.ts';

/** Milliseconds a DEL waits for its turn at the store. */
const PATIENCE = 3_000;

/** What an ADD asks for. */
export type BlockWishes = {
  readonly requested: readonly Ip[];
  /** By name or CIDR; empty: any. */
  readonly pools: readonly string[];
  readonly routes: readonly RouteConfig[];
};

/** The families pods have addresses of. */
export function familiesOf({ networks }: Pick<CniContext, 'networks'>): readonly Family[] {
  return FAMILIES.filter((family) => networks.some((network) => familyOf(network) === family));
}

/** Blocks that this node claims, and borrows from, as its pods need them. */
export function blocks(assigner: Assigner, { requested, pools, routes }: BlockWishes): AddressSource {
  return {
    heldBy: (key) => ({ dir: '', handle: handleOf(key) }),
    async take(call, { context }) {
      const { namespace, name: pod } = podIdentity(call);
      const assigned = await assigner.assign({
        handle: handleOf(call),
        families: familiesOf(context),
        attributes: { ...(pod && { pod }), ...(namespace && { namespace }) },
        ...(requested.length > 0 && { requested }),
        ...(pools.length > 0 && { pools }),
        ...(namespace && { namespaceLabels: labelsOf(namespace, context) }),
      });
      return {
        ips: assigned.map(({ ip }) => ({ address: parsePrefixed(hostCidr(ip)) })),
        borrowed: assigned.flatMap(({ ip, borrowed }) => (borrowed ? [ip] : [])),
        routes,
        dns: {},
      };
    },
    // Blocks are the whole cluster's: whether one more can be had shows when it is needed.
    exhausted: () => undefined,
  };
}

/**
 * Frees what the handle holds, and returns whether it could. While the store is away the addresses stay held,
 * and no caller waits. Never rejects.
 */
export async function releaseHandle(handle: string, state: CniState): Promise<boolean> {
  const { assigner } = state.context;
  if (assigner && !state.later.pending) {
    try {
      await assigner.release(handle, AbortSignal.timeout(PATIENCE));
      return true;
    } catch (error) {
      state.context.warn(`the addresses of ${handle} are freed later`, error);
    }
  }
  state.later.schedule();
  return false;
}

/** The labels every namespace has in Kubernetes and in Calico, and those the agent knows of. */
function labelsOf(namespace: string, context: CniContext): Readonly<Record<string, string>> {
  return {
    'kubernetes.io/metadata.name': namespace,
    'projectcalico.org/name': namespace,
    ...context.namespaceLabels?.(namespace),
  };
}
