import { readdirSync } from 'node:fs';
import { netnsId } from '../../linux/netns.ts';
import { netnsAt, PodNetns } from './pod-netns.ts';

/** Opens every namespace in sight but the node's own, one at a time; the caller closes it. */
export function* podNamespaces(nodeNetns: string): Generator<PodNetns> {
  const seen = new Set<number | undefined>([undefined, netnsId(nodeNetns)]);
  for (const path of namespaces()) {
    const id = netnsAt(path);
    if (seen.has(id)) continue;
    seen.add(id);
    const netns = PodNetns.tryOpen(path, nodeNetns);
    if (netns) yield netns;
  }
}

/** Paths of all namespaces in sight: those with a name, then those of processes. */
function* namespaces(): Generator<string> {
  for (const dir of ['/run/netns', '/var/run/netns', '/run/docker/netns'])
    for (const name of namesIn(dir)) yield `${dir}/${name}`;
  for (const pid of namesIn('/proc')) if (/^\d+$/.test(pid)) yield `/proc/${pid}/ns/net`;
}

function namesIn(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}
