import type { KubernetesClient } from '../../kubernetes/api/client.ts';
import { servedKinds, servedVersions } from '../../kubernetes/api/discovery.ts';
import { list } from '../../kubernetes/api/list.ts';
import { asJson } from '../../kubernetes/api/object.ts';
import type { ResourceType } from '../../kubernetes/api/resource.ts';
import { CALICO_V1, CALICO_V3, calicoPolicyKinds, type Version } from './policy-kinds.ts';

type Client = Pick<KubernetesClient, 'call'>;

const MIGRATIONS = 'migration.projectcalico.org';

/** What Calico's own controller has reached once all objects are in the newer definitions. */
const MIGRATED: readonly unknown[] = ['Converged', 'Complete'];

/** Where Calico has its objects. */
export type CalicoVersion = {
  readonly version: Version;
  /** A migration has brought them there from the older definitions. */
  readonly isMigrated: boolean;
};

/**
 * Where Calico has its objects, as Calico itself decides it: in `projectcalico.org/v3` once a
 * DatastoreMigration says so, or if nothing else is there. Where both are, Calico's API server is what serves
 * v3, as far as anybody can tell, out of `crd.projectcalico.org/v1`. That is also the answer for a cluster
 * with neither.
 */
export async function calicoVersion(client: Client, signal: AbortSignal): Promise<CalicoVersion> {
  if (await isMigrated(client, signal)) return { version: CALICO_V3, isMigrated: true };
  // The newer one is not asked for needlessly: Calico's API server need not be there to answer.
  const isNew =
    !(await hasPolicies(client, CALICO_V1, signal)) && (await hasPolicies(client, CALICO_V3, signal));
  return { version: isNew ? CALICO_V3 : CALICO_V1, isMigrated: false };
}

/** Whether `projectcalico.org/v3` is defined, and not what Calico's API server shows. Throws NOT_FOUND. */
export async function isNewerDefined(
  client: Pick<KubernetesClient, 'get'>,
  signal: AbortSignal,
): Promise<boolean> {
  const { group, version } = CALICO_V3;
  const resource: ResourceType = {
    group: 'apiregistration.k8s.io',
    version: 'v1',
    plural: 'apiservices',
    kind: 'APIService',
    namespaced: false,
  };
  const { metadata } = await client.get(resource, { name: `${version}.${group}` }, { signal });
  return metadata.labels?.['kube-aggregator.kubernetes.io/automanaged'] !== undefined;
}

async function isMigrated(client: Client, signal: AbortSignal): Promise<boolean> {
  const [version] = await servedVersions(client, MIGRATIONS, { signal });
  if (version === undefined) return false;
  const resource: ResourceType = {
    group: MIGRATIONS,
    version,
    plural: 'datastoremigrations',
    kind: 'DatastoreMigration',
    namespaced: false,
  };
  const { items } = await list(client, resource, ({ status }) => ({ phase: asJson(status).phase }), {
    signal,
  });
  return items.some(({ phase }) => MIGRATED.includes(phase));
}

async function hasPolicies(client: Client, version: Version, signal: AbortSignal): Promise<boolean> {
  const kinds = calicoPolicyKinds(version);
  const [first] = kinds;
  if (!first) return false;
  const served = await servedKinds(client, first, { signal });
  return kinds.some(({ plural }) => served.has(plural));
}
