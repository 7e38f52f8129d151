import type { Configured } from '../backends/registry.ts';
import { PORT_PROTOCOLS } from '../cluster/host-port.ts';
import type { Network } from '../cluster/network.ts';
import type { Self } from '../cluster/node.ts';
import type { OwnPort } from '../cluster/own-port.ts';
import { ALWAYS_DECAPSULATED } from '../guard/pods.ts';

const OF_NETWORK = 'carries the pod network’s own traffic';
const RESERVED = 'is reserved by the network’s configuration';

/**
 * Returns the ports of this node that lead to no pod, whatever pods ask for: those that carry the pod
 * network, now or with another backend, those of what the node serves to the cluster, and those that the
 * configuration reserves.
 */
export function ownPorts(
  { reservedHostPorts = [] }: Pick<Network, 'reservedHostPorts'>,
  { serves = [] }: Pick<Self, 'serves'>,
  { backend, options }: Configured,
): readonly OwnPort[] {
  const { tcp, udp } = backend.nodePorts?.(options) ?? { tcp: [], udp: [] };
  const tunnels = [...ALWAYS_DECAPSULATED.udp, ...(backend.decapsulates?.(options).udp ?? [])];
  const one = (protocol: OwnPort['protocol'], why: string) => (port: number) => ({
    protocol,
    first: port,
    last: port,
    why,
  });
  return [
    ...tcp.map(one('tcp', OF_NETWORK)),
    ...[...udp, ...tunnels].map(one('udp', OF_NETWORK)),
    ...serves,
    ...reservedHostPorts.flatMap((range) =>
      PORT_PROTOCOLS.map((protocol) => ({ ...range, protocol, why: RESERVED })),
    ),
  ];
}
