import { codeOf } from '../../../src/error.ts';
import type { KubernetesClient } from '../../../src/kubernetes/api/client.ts';
import { list } from '../../../src/kubernetes/api/list.ts';
import type { Json } from '../../../src/kubernetes/api/object.ts';
import { CALICO_TYPES, type CalicoKind } from '../../../src/store/kubernetes/crds.ts';
import { CRDS } from '../../kubernetes/api-server.ts';
import { eventually } from '../servers.ts';

const text = { type: 'string' };
const flag = { type: 'boolean' };
const whole = { type: 'integer' };
const texts = { type: 'array', items: text };
const fields = (properties: Json): Json => ({
  type: 'object',
  properties,
  'x-kubernetes-preserve-unknown-fields': true,
});
const encapsulation = { type: 'string', enum: ['Never', 'Always', 'CrossSubnet'] };

/** The fields that Calico documents. Others are kept, as after an upgrade of Calico. */
const SPECS: Readonly<Record<CalicoKind, Json>> = {
  IPPool: fields({
    cidr: text,
    blockSize: whole,
    ipipMode: encapsulation,
    vxlanMode: encapsulation,
    natOutgoing: flag,
    disabled: flag,
    disableBGPExport: flag,
    nodeSelector: text,
    allowedUses: texts,
    assignmentMode: text,
  }),
  IPReservation: fields({ reservedCIDRs: texts }),
  BGPConfiguration: fields({
    asNumber: whole,
    nodeToNodeMeshEnabled: flag,
    listenPort: whole,
    logSeverityScreen: text,
    serviceClusterIPs: { type: 'array', items: fields({ cidr: text }) },
  }),
  BGPPeer: fields({ peerIP: text, asNumber: whole, node: text, nodeSelector: text, peerSelector: text }),
  BGPFilter: fields({}),
};

const nameOf = (kind: CalicoKind): string => `${CALICO_TYPES[kind].plural}.crd.projectcalico.org`;
const KINDS = Object.keys(CALICO_TYPES) as CalicoKind[];

/** Defines Calico's kinds, as its manifests do, and waits until they are served. */
export async function applyCalicoCrds(admin: KubernetesClient): Promise<void> {
  for (const kind of KINDS) {
    const { group, plural } = CALICO_TYPES[kind];
    const names = { kind, listKind: `${kind}List`, plural, singular: kind.toLowerCase() };
    const schema = { openAPIV3Schema: { type: 'object', properties: { spec: SPECS[kind] } } };
    const versions = [{ name: 'v1', served: true, storage: true, schema }];
    const spec = { group, scope: 'Cluster', names, versions };
    await admin.apply(
      CRDS,
      { metadata: { name: nameOf(kind) }, spec },
      { fieldManager: 'test', force: true },
    );
  }
  for (const kind of KINDS) await eventually(() => isServed(admin, kind));
}

export async function deleteCalicoCrds(admin: KubernetesClient): Promise<void> {
  for (const kind of KINDS) await admin.delete(CRDS, { name: nameOf(kind) });
}

async function isServed(admin: KubernetesClient, kind: CalicoKind): Promise<boolean> {
  try {
    await list(admin, CALICO_TYPES[kind], () => undefined);
    return true;
  } catch (error) {
    if (codeOf(error) === 'KIND_UNKNOWN') return false;
    throw error;
  }
}
