import { within } from '../async/within.ts';
import type { LocalPod } from '../cluster/node.ts';
import { messageOf } from '../error.ts';
import type { Log } from '../log.ts';
import { forgetFlowsTo } from './flows/stale.ts';
import type { Loop } from './loop.ts';

/** Longest wait for the kernel, in milliseconds: what it still holds then goes without anybody waiting. */
const LIMIT = 5000;

/**
 * Takes away what leads the host ports of a pod to it, which is no fact any more, with the UDP flows that are
 * tracked. Its DEL waits for that: an agent that died after it would not know of the pod, and a flow that
 * goes on would reach whoever has the address next. Failures are only logged: the pod has to go.
 */
export async function releasePorts(
  pod: LocalPod,
  { loop, log, netns }: { readonly loop: Loop; readonly log: Log; readonly netns?: string },
): Promise<void> {
  try {
    // Before anything is computed, nothing is known to be unwanted.
    if (loop.computed) await within(LIMIT, loop.run(), undefined);
    await forgetFlowsTo(pod, netns);
  } catch (error) {
    log.warn({ pod: pod.name ?? pod.containerId, error: messageOf(error) }, 'cannot release host ports');
  }
}
