import { FAMILIES, type Family, familyOf, type Ip } from '../../ip/address.ts';
import type { Assigned, Assigner } from '../../ipam/assigner.ts';
import type { CniContext } from '../context.ts';
import type { Invocation } from '../protocol/invocation.ts';
import { podIdentity } from '../protocol/pod-identity.ts';
import type { AttachmentKey } from '../records/attachment.ts';
import type { CniState } from '../state.ts';

/** Milliseconds a DEL waits for its turn at the store. */
const PATIENCE = 3_000;

/** Names an attachment in the store, as Calico's IPAM does. */
export function handleOf({ containerId, ifName }: Pick<AttachmentKey, 'containerId' | 'ifName'>): string {
  return `k8s-pod-network.${containerId}.${ifName}`;
}

/** The families pods have addresses of. */
export function familiesOf({ networks }: CniContext): readonly Family[] {
  return FAMILIES.filter((family) => networks.some((network) => familyOf(network) === family));
}

/** Takes addresses out of the node's blocks. */
export function assign(
  assigner: Assigner,
  call: Invocation,
  wishes: { readonly requested: readonly Ip[]; readonly pools: readonly string[] },
  context: CniContext,
): Promise<readonly Assigned[]> {
  const { requested, pools } = wishes;
  const { namespace, name: pod } = podIdentity(call);
  return assigner.assign({
    handle: handleOf(call),
    families: familiesOf(context),
    attributes: { ...(pod && { pod }), ...(namespace && { namespace }) },
    ...(requested.length > 0 && { requested }),
    ...(pools.length > 0 && { pools }),
    ...(namespace && { namespaceLabels: labelsOf(namespace, context) }),
  });
}

/**
 * Frees what the handle holds; whether it could. The store may be away: then the address waits, and nobody else
 * does. Never rejects.
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

/** Without anybody who knows more, those that every namespace has in Kubernetes and in Calico. */
function labelsOf(namespace: string, context: CniContext): Readonly<Record<string, string>> {
  return {
    'kubernetes.io/metadata.name': namespace,
    'projectcalico.org/name': namespace,
    ...context.namespaceLabels?.(namespace),
  };
}
