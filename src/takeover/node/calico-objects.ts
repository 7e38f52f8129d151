import { codeOf } from '../../error.ts';
import { openAccess } from '../../kubernetes/access/open.ts';
import { KubernetesClient } from '../../kubernetes/api/client.ts';
import { list } from '../../kubernetes/api/list.ts';
import { apiVersionOf, type ResourceType } from '../../kubernetes/api/resource.ts';
import { type CalicoObject, readObject } from '../calico/object.ts';

const CALICO = 'crd.projectcalico.org';

/** Calico's kinds, as its definitions name them. */
const CLUSTERED = [
  'IPPool',
  'IPReservation',
  'BGPConfiguration',
  'BGPPeer',
  'BGPFilter',
  'IPAMBlock',
  'BlockAffinity',
  'IPAMConfig',
  'FelixConfiguration',
  'GlobalNetworkPolicy',
  'StagedGlobalNetworkPolicy',
  'Tier',
  'GlobalNetworkSet',
  'HostEndpoint',
] as const;

const RESOURCES: readonly ResourceType[] = [
  ...CLUSTERED.map((kind) => calico(kind, false)),
  calico('NetworkPolicy', true),
  calico('StagedNetworkPolicy', true),
  calico('StagedKubernetesNetworkPolicy', true),
  calico('NetworkSet', true),
  admin('AdminNetworkPolicy', 'v1alpha1'),
  admin('BaselineAdminNetworkPolicy', 'v1alpha1'),
  admin('ClusterNetworkPolicy', 'v1alpha2'),
  {
    group: 'networking.k8s.io',
    version: 'v1',
    plural: 'networkpolicies',
    kind: 'NetworkPolicy',
    namespaced: true,
  },
  { group: '', version: 'v1', plural: 'nodes', kind: 'Node', namespaced: false },
];

function calico(kind: string, namespaced: boolean): ResourceType {
  return { group: CALICO, version: 'v1', plural: pluralOf(kind), kind, namespaced };
}

/** Policies of the cluster's administrators, which Calico enforces, too. */
function admin(kind: string, version: string): ResourceType {
  return { group: 'policy.networking.k8s.io', version, plural: pluralOf(kind), kind, namespaced: false };
}

function pluralOf(kind: string): string {
  return `${kind.toLowerCase()}s`.replace(/ys$/, 'ies');
}

/**
 * Reads what a plan needs from the API server that a kubeconfig names, or else the one of `openAccess`. A
 * kind that the cluster does not have is left out.
 */
export async function readCalicoObjects(kubeconfig: string | undefined): Promise<CalicoObject[]> {
  const client = new KubernetesClient({ access: await openAccess({ kubeconfig }) });
  try {
    const lists: CalicoObject[][] = [];
    for (const resource of RESOURCES) lists.push(await objectsOf(client, resource));
    return lists.flat();
  } finally {
    client.close();
  }
}

async function objectsOf(client: KubernetesClient, resource: ResourceType): Promise<CalicoObject[]> {
  const type = { apiVersion: apiVersionOf(resource), kind: resource.kind };
  try {
    // Lists of Kubernetes' own kinds do not repeat it in each object.
    const { items } = await list(client, resource, (object) => readObject({ ...object, ...type }, ''));
    return [...items];
  } catch (error) {
    if (codeOf(error) === 'KIND_UNKNOWN') return [];
    throw error;
  }
}
