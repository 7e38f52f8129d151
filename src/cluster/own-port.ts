import type { HostPort, PortProtocol } from './host-port.ts';
import { isInRange, type PortRange } from './port-range.ts';

/** Ports of a node that never lead to a pod. */
export type OwnPort = PortRange & {
  readonly protocol: PortProtocol;
  /** What is said of such a port, for people: `carries the pod network’s own traffic`. */
  readonly why: string;
};

/** Why a host port cannot lead to a pod; undefined if it can. */
export function whyOwn(
  { protocol, hostPort }: Pick<HostPort, 'protocol' | 'hostPort'>,
  own: readonly OwnPort[],
): string | undefined {
  return own.find((each) => each.protocol === protocol && isInRange(hostPort, each))?.why;
}
