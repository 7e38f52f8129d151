import type { PodStatus } from '../../lab/pods/record.ts';
import { type Cell, paint, table } from '../output.ts';

export function podTable(pods: readonly PodStatus[]): string {
  const rows = pods.map((pod): Cell[] => [
    pod.namespace,
    pod.name,
    paint(pod.phase === 'Running' ? 'green' : 'red', pod.phase),
    pod.node,
    pod.addresses.join(' '),
    pod.containers.map(containerText).join(' '),
  ]);
  return table(['NAMESPACE', 'POD', 'STATUS', 'NODE', 'ADDRESSES', 'CONTAINERS'], rows);
}

function containerText(container: PodStatus['containers'][number]): string {
  return container.state === 'exited'
    ? `${container.name}(exited ${container.exitCode})`
    : `${container.name}(${container.state})`;
}
