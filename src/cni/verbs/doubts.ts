import { podTitle } from '../../cluster/node.ts';
import { aboutPod, type Problem } from '../../problem.ts';
import type { Attachment } from '../records/attachment.ts';
import { hasNoHostEnd } from '../records/record.ts';
import type { CniState } from '../state.ts';
import { derivedMacs } from '../wiring/mac.ts';

/** What is in doubt about a running pod since its record was lost, or came from an earlier version. */
export function doubts(record: Attachment, { context }: CniState): readonly Problem[] {
  const { lost = [], mac = '', ifName, hostDevice = ifName } = record;
  const isOnPhysical = hasNoHostEnd(record);
  if (lost.length === 0) return [];
  const pod = podTitle({ ...record, ...record.pod });
  const pods = (what: string) => [aboutPod(record.pod ?? {}, what)];
  const problems: Problem[] = [];
  if (lost.includes('addresses')) {
    problems.push({
      id: 'pod-identity-unknown',
      severity: 'error',
      what: `the addresses of ${pod} are not known`,
      cause: isOnPhysical
        ? 'its record and its reservations were lost, and others may be given them'
        : 'its record and its reservations were lost, and it may send nothing',
      fix: 'delete the pod',
      pods: pods('its addresses are not known'),
    });
  }
  if (lost.includes('mac')) {
    const isOurs = derivedMacs({ ...record, bridge: record.bridge ?? context.bridge }).some(
      (each) => each === mac,
    );
    problems.push({
      id: 'pod-identity-unknown',
      severity: isOurs && !isOnPhysical ? 'error' : 'warning',
      what: `the MAC of ${pod} at ${hostDevice} is not known`,
      cause: isOnPhysical
        ? `its node sends to ${mac}`
        : isOurs
          ? `it may only send from ${mac}, the MAC it would have been given`
          : `it may send from ${mac}, as its interface has that MAC and nobody else does`,
      fix: 'delete the pod',
      pods: pods(`its MAC at ${hostDevice} is not known`),
    });
  }
  if (lost.includes('requests')) {
    problems.push({
      id: 'pod-requests-lost',
      severity: 'warning',
      what: `what ${pod} asked for is not known`,
      cause: 'its record was lost with the copy',
      fix: 'delete the pod if it has host ports, a bandwidth, labels for the plugin or the annotation allowedSourcePrefixes',
      pods: pods('what it asked for is not known'),
    });
  }
  return problems;
}
