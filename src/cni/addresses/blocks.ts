import { aborted } from '../../async/pause.ts';
import { FAMILIES, type Family, familyOf, type Ip } from '../../ip/address.ts';
import { hostCidr, parsePrefixed } from '../../ip/cidr.ts';
import type { Assigned, Assigner } from '../../ipam/assigner.ts';
import type { CniContext } from '../context.ts';
import { podIdentity } from '../protocol/pod.ts';
import type { RouteConfig } from '../protocol/result.ts';
import { handleOf } from '../records/attachment.ts';
import type { CniState } from '../state.ts';
import type { AddressSource } from './source.ts';

/** Milliseconds a DEL waits for its turn to use the store. */
const PATIENCE = 3_000;

/** An ADD's requests. */
export type BlockRequests = {
  readonly requested: readonly Ip[];
  /** By name or CIDR; empty: any. */
  readonly pools: readonly string[];
  readonly routes: readonly RouteConfig[];
};

/** The address families of pods. */
export function familiesOf({ networks }: Pick<CniContext, 'networks'>): readonly Family[] {
  return FAMILIES.filter((family) => networks.some((network) => familyOf(network) === family));
}

/** Addresses from blocks that this node claims, or borrows from, on demand. */
export function blocks(assigner: Assigner, { requested, pools, routes }: BlockRequests): AddressSource {
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
        borrowed: assigned.flatMap(({ ip, borrowed, block }) =>
          borrowed || block === hostCidr(ip) ? [ip] : [],
        ),
        routes,
        dns: {},
      };
    },
  };
}

/**
 * Releases what the handle holds, and returns whether that succeeded. While the store is unreachable the
 * addresses stay held, and callers do not wait. Never rejects.
 */
export async function releaseHandle(handle: string, state: CniState): Promise<boolean> {
  const { assigner } = state.context;
  if (assigner && !state.later.pending) {
    try {
      await assigner.release(handle, AbortSignal.timeout(PATIENCE));
      return true;
    } catch (error) {
      state.context.warn(`the addresses of ${handle} will be released later`, error);
    }
  }
  state.later.schedule();
  return false;
}

/** What a handle holds; undefined while the store does not say. Never rejects. */
export async function heldBy(handle: string, state: CniState): Promise<readonly Assigned[] | undefined> {
  const { assigner } = state.context;
  if (!assigner || state.later.pending) return undefined;
  const signal = AbortSignal.timeout(PATIENCE);
  const late = aborted(signal).then(() => Promise.reject(signal.reason));
  try {
    return await Promise.race([assigner.held(handle), late]);
  } catch (error) {
    state.context.warn(`what ${handle} holds is not known`, error);
    state.later.schedule();
    return undefined;
  }
}

/** The labels every namespace has in Kubernetes and in Calico, and those known to the agent. */
function labelsOf(namespace: string, context: CniContext): Readonly<Record<string, string>> {
  return {
    'kubernetes.io/metadata.name': namespace,
    'projectcalico.org/name': namespace,
    ...context.namespaceLabels?.(namespace),
  };
}
