import { addressOf } from '../ip/cidr.ts';
import { aboutPod, type PodProblem, type Problem } from '../problem.ts';
import type { LeaseRecord } from './lease-file.ts';
import { phaseOf } from './protocol/lease.ts';
import { UNSPECIFIED } from './protocol/packet.ts';

/** What is wrong with a pod's lease: it is lost, or soon will be. */
export function problemOf(
  { id, lease, lost, holder }: LeaseRecord,
  time: number,
  pod: PodProblem['pod'] = {},
): Problem | undefined {
  const ip = addressOf(lease.address);
  const title = pod.namespace && pod.name ? `${pod.namespace}/${pod.name}` : id;
  if (lost) {
    return {
      id: 'pod-lease-lost',
      severity: 'error',
      what: `${title} has lost its address ${ip}`,
      ...(holder !== undefined
        ? {
            cause: `${holder} used it when ${serverOf(lease)} last gave it back`,
            fix: 'take it from that machine, or recreate the pod, which gives it another',
          }
        : {
            cause: `${serverOf(lease)} has not extended its lease`,
            fix: 'check the server; if it has given the address to another, recreate the pod',
          }),
      pods: [aboutPod(pod, `it has lost its address ${ip}`)],
    };
  }
  if (phaseOf(lease, time) !== 'rebinding') return undefined;
  return {
    id: 'pod-lease-not-renewed',
    severity: 'warning',
    what: `${title} will lose its address ${ip} in ${Math.ceil((lease.endsAt - time) / 1000)} s`,
    cause: `${serverOf(lease)} does not answer`,
    fix: 'check the server',
  };
}

/** One that was adopted names no server until one has confirmed it. */
function serverOf({ server }: LeaseRecord['lease']): string {
  return server === UNSPECIFIED ? 'the DHCP server' : `the DHCP server ${server}`;
}
