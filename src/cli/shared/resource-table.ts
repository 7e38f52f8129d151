import type { Resource } from '../../cluster/calico/decode.ts';
import type { Kind } from '../../cluster/calico/document.ts';
import type { BgpFilter, BgpPeer, Community } from '../../cluster/resources.ts';
import type { AppliedResource } from '../../store/ports/resources.ts';
import { table } from './output.ts';

/** A table of resources of one kind, like calicoctl's; `wide` adds columns. */
export function resourceTable(kind: Kind, all: readonly AppliedResource[], wide: boolean): string {
  const rows = all.map(({ document, resource }) => ({
    NAME: document.metadata.name,
    ...columns(resource),
    ...(wide ? wideColumns(resource) : {}),
  }));
  const header = Object.keys(rows[0] ?? {});
  const cells = rows.map((row) => header.map((name) => text((row as Record<string, unknown>)[name])));
  return table(header, cells) || `no ${kind}`;
}

function columns(resource: Resource): Record<string, unknown> {
  switch (resource.kind) {
    case 'IPPool':
      return { CIDR: resource.value.cidr, SELECTOR: resource.value.nodeSelector };
    case 'IPReservation':
      return { CIDRS: resource.value.cidrs };
    case 'BGPConfiguration':
      return { MESHENABLED: resource.value.nodeToNodeMeshEnabled, ASNUMBER: resource.value.asNumber };
    case 'BGPPeer':
      return {
        PEERIP: peerText(resource.value),
        NODE: nodeText(resource.value),
        ASN: resource.value.asNumber,
      };
    case 'BGPFilter':
      return rulesOf(resource.value);
    case 'Node':
      return { ASN: resource.value.asNumber, ROUTEREFLECTOR: resource.value.routeReflectorClusterId };
  }
}

function wideColumns(resource: Resource): Record<string, unknown> {
  switch (resource.kind) {
    case 'IPPool': {
      const {
        natOutgoing,
        ipipMode,
        blockSize,
        disabled,
        disableBgpExport,
        assignmentMode,
        namespaceSelector,
      } = resource.value;
      return {
        NAT: natOutgoing,
        IPIPMODE: ipipMode,
        BLOCKSIZE: blockSize,
        DISABLED: disabled,
        DISABLEBGPEXPORT: disableBgpExport,
        ASSIGNMENTMODE: assignmentMode,
        NAMESPACES: namespaceSelector,
      };
    }
    case 'BGPConfiguration': {
      const { listenPort, serviceCidrs, communities, ignoredInterfaces } = resource.value;
      return {
        PORT: listenPort,
        SERVICES: serviceCidrs,
        COMMUNITIES: Object.entries(communities).map(([name, value]) => `${name}=${communityText(value)}`),
        IGNORED: ignoredInterfaces,
      };
    }
    case 'BGPPeer': {
      const { nextHopMode, password, bfd, filters } = resource.value;
      return {
        NEXTHOP: nextHopMode,
        PASSWORD: password && `${password.name}/${password.key}`,
        BFD: bfd,
        FILTERS: filters,
      };
    }
    case 'Node':
      return { LABELS: Object.entries(resource.value.labels).map(([key, value]) => `${key}=${value}`) };
    default:
      return {};
  }
}

function peerText({ peerIp, port, peerSelector }: BgpPeer): string {
  if (peerIp === undefined) return peerSelector ?? '';
  if (port === undefined) return peerIp;
  return peerIp.includes(':') ? `[${peerIp}]:${port}` : `${peerIp}:${port}`;
}

/** As calicoctl writes it: one node, those a selector matches, or all. */
function nodeText({ node, nodeSelector }: BgpPeer): string {
  return node ?? nodeSelector ?? '(global)';
}

function rulesOf({ exportV4, importV4, exportV6, importV6 }: BgpFilter): Record<string, unknown> {
  return {
    EXPORTV4: exportV4.length,
    IMPORTV4: importV4.length,
    EXPORTV6: exportV6.length,
    IMPORTV6: importV6.length,
  };
}

function communityText(value: Community): string {
  return value.join(':');
}

function text(value: unknown): string {
  if (value === undefined) return '';
  return Array.isArray(value) ? value.join(',') : `${value}`;
}
