import { familyOf, type Ip } from '../ip/address.ts';

export const PORT_PROTOCOLS = ['tcp', 'udp', 'sctp'] as const;
export type PortProtocol = (typeof PORT_PROTOCOLS)[number];

/** A port of the node that leads to a pod: a container's `hostPort` in Kubernetes. */
export type HostPort = {
  readonly protocol: PortProtocol;
  readonly hostPort: number;
  readonly containerPort: number;
  /** Absent: at all of the node's addresses. 0.0.0.0 or `::`: at all of that family. */
  readonly hostIp?: Ip;
};

export function isEveryAddress(ip: Ip): boolean {
  return ip === '0.0.0.0' || ip === '::';
}

/** Whether some packet could be meant for either. */
export function collide(a: HostPort, b: HostPort): boolean {
  if (a.protocol !== b.protocol || a.hostPort !== b.hostPort) return false;
  const [one, other] = [a.hostIp, b.hostIp];
  if (one === undefined || other === undefined || one === other) return true;
  return familyOf(one) === familyOf(other) && (isEveryAddress(one) || isEveryAddress(other));
}

/** `8080/tcp`, `192.0.2.1:8080/tcp`, `[::1]:8080/tcp`. */
export function hostPortText({ protocol, hostPort, hostIp }: HostPort): string {
  const address = hostIp === undefined ? '' : familyOf(hostIp) === 6 ? `[${hostIp}]:` : `${hostIp}:`;
  return `${address}${hostPort}/${protocol}`;
}
