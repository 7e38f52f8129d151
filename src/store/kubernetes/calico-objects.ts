import { decode } from '../../cluster/calico/decode.ts';
import type { Kind } from '../../cluster/calico/document.ts';
import { messageOf } from '../../error.ts';
import type { KubernetesClient } from '../../kubernetes/api/client.ts';
import { isServed } from '../../kubernetes/api/discovery.ts';
import { list } from '../../kubernetes/api/list.ts';
import type { KubernetesObject } from '../../kubernetes/api/object.ts';
import { isAbsence } from '../../kubernetes/informer/informer.ts';
import type { AppliedResource } from '../ports/resources.ts';
import { CALICO_TYPES, type CalicoKind } from './crds.ts';
import { documentOf } from './resource-object.ts';

/** Calico's own objects of a kind; undefined where the API does not serve them, or not to us. */
export async function calicosOf(
  client: KubernetesClient,
  kind: Kind,
): Promise<readonly KubernetesObject[] | undefined> {
  if (!isCalicoKind(kind)) return undefined;
  try {
    return (await list(client, CALICO_TYPES[kind], (object) => object)).items;
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw error;
  }
}

/** Whether Calico has pools; unknown where its definitions are served, but not ours to read. */
export async function hasPools(client: KubernetesClient): Promise<'yes' | 'unknown' | 'no'> {
  const pools = await calicosOf(client, 'IPPool');
  if (pools) return pools.length > 0 ? 'yes' : 'no';
  return (await isServed(client, CALICO_TYPES.IPPool)) ? 'unknown' : 'no';
}

/** Undefined for an object that cannot be read, which `warn` is told. */
export function readCalicos(
  kind: Kind,
  object: KubernetesObject,
  warn: (problem: string) => void,
): AppliedResource | undefined {
  const title = `Calico’s ${kind}/${object.metadata.name}`;
  const ignored = (field: string): void => warn(`${title}: ignored: ${field}`);
  try {
    const document = documentOf(kind, object);
    return { document, resource: decode(document, '', ignored, ignored), foreign: true };
  } catch (error) {
    warn(`${title} is ignored: ${messageOf(error)}`);
    return undefined;
  }
}

function isCalicoKind(kind: Kind): kind is CalicoKind {
  return Object.hasOwn(CALICO_TYPES, kind);
}
