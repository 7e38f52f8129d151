import { hostPortText } from '../cluster/host-port.ts';
import { type LocalPod, podTitle } from '../cluster/node.ts';
import { type OwnPort, whyOwn } from '../cluster/own-port.ts';
import { aboutPod, type Problem } from '../problem.ts';
import { listed } from './stray-pods.ts';

/** Names the pods whose host ports have become the node's own since they were created. */
export function overruledHostPorts(pods: readonly LocalPod[], own: readonly OwnPort[]): readonly Problem[] {
  const overruled = pods.flatMap((pod) =>
    (pod.hostPorts ?? []).flatMap((port) => {
      const why = whyOwn(port, own);
      return why === undefined ? [] : [{ pod, what: `${hostPortText(port)} ${why}` }];
    }),
  );
  if (overruled.length === 0) return [];
  return [
    {
      id: 'host-ports-overruled',
      severity: 'error',
      what: `host ports do not lead to their pods: ${listed(overruled.map(({ pod, what }) => `${podTitle(pod)}: ${what}`))}`,
      fix: 'recreate the pods with other host ports',
      pods: overruled.map(({ pod, what }) => aboutPod(pod, `a host port does not lead to it: ${what}`)),
    },
  ];
}
