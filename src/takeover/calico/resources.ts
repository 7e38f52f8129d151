import { decode, type Resource } from '../../cluster/calico/decode.ts';
import { API_VERSION, type Document, KINDS, readDocument } from '../../cluster/calico/document.ts';
import type { CalicoObject } from './object.ts';

/** A resource that flatnet has, too, with the document that `flatnet apply` takes. */
export type Mapped = { readonly document: Document; readonly resource: Resource };

/** Whether flatnet has this kind, too; Kubernetes’ own Node is not Calico’s. */
export function isResource({ kind, group }: CalicoObject): boolean {
  return KINDS.some((each) => each === kind) && group.endsWith('projectcalico.org');
}

/** What Calico itself finds out or assigns, and so do our agents. */
const FOUND_BY_AGENTS: readonly string[] = ['ipv4Address', 'ipv6Address', 'ipv4IPIPTunnelAddr'];

/** Maps a resource. Throws CONFIG_INVALID naming the field that flatnet does not have. */
export function mapResource({ kind, name, metadata, spec }: CalicoObject): Mapped {
  const { source } = spec;
  const labels = metadata.object('labels')?.source;
  const document = readDocument({
    apiVersion: API_VERSION,
    kind,
    metadata: { name, ...(labels && { labels }) },
    spec: kind === 'Node' ? settingsOf(source) : source,
  });
  return { document, resource: decode(document) };
}

/** A node's settings without its addresses. */
function settingsOf({ bgp }: Readonly<Record<string, unknown>>): object {
  if (typeof bgp !== 'object' || bgp === null) return {};
  return { bgp: Object.fromEntries(Object.entries(bgp).filter(([key]) => !FOUND_BY_AGENTS.includes(key))) };
}

/** What a resource says, for people. */
export function resourceText({ kind, value }: Resource): string {
  switch (kind) {
    case 'IPPool': {
      const tunnel = value.ipipMode === 'Never' ? '' : `, IPIP ${value.ipipMode}`;
      const off = value.disabled ? ', disabled' : '';
      return `${value.cidr} in blocks of /${value.blockSize}${tunnel}${value.natOutgoing ? ', masqueraded' : ''}${off}`;
    }
    case 'IPReservation':
      return value.cidrs.join(' ');
    case 'BGPConfiguration':
      return `AS ${value.asNumber}, mesh of nodes ${value.nodeToNodeMeshEnabled ? 'on' : 'off'}`;
    case 'BGPPeer':
      return value.peerIp === undefined
        ? `nodes that match ${value.peerSelector}`
        : `${value.peerIp} in AS ${value.asNumber}`;
    case 'BGPFilter': {
      const rules = [value.exportV4, value.importV4, value.exportV6, value.importV6].flat().length;
      return `${rules} rules`;
    }
    case 'Node':
      return nodeText(value.asNumber, value.routeReflectorClusterId);
  }
}

function nodeText(asNumber: number | undefined, cluster: string | undefined): string {
  const settings = [
    ...(asNumber === undefined ? [] : [`AS ${asNumber}`]),
    ...(cluster === undefined ? [] : [`route reflector of ${cluster}`]),
  ];
  return settings.join(', ') || 'its labels';
}
