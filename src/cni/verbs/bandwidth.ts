import { bandwidthItems, leastBurst } from '../../bandwidth/limits.ts';
import type { Bandwidth } from '../../cluster/bandwidth.ts';
import { podTitle } from '../../cluster/node.ts';
import { qdiscDump } from '../../linux/qdisc.ts';
import { readBandwidth } from '../capabilities/bandwidth.ts';
import { CniError, CODE } from '../protocol/error.ts';
import type { Invocation } from '../protocol/invocation.ts';
import type { Attachment } from '../records/attachment.ts';
import { localPod } from '../records/local-pod.ts';
import type { CniState } from '../state.ts';
import { findLink } from '../wiring/links.ts';

/** Says so if a burst that was asked for is less than one packet, and so is raised. */
export function warnOfBurst(
  bandwidth: Bandwidth,
  record: Pick<Attachment, 'pod' | 'containerId'>,
  { context }: CniState,
): void {
  for (const [direction, rate] of Object.entries(bandwidth)) {
    const least = leastBurst(rate, context.mtu);
    if (rate.burst >= least) continue;
    const pod = podTitle({ ...record, ...record.pod });
    const error = new Error(
      `the ${direction} burst of ${rate.burst} bytes is less than a packet, and becomes ${least}`,
    );
    context.warn(`the bandwidth of ${pod} allows more at once than it asks for`, error);
  }
}

/** For CHECK: throws CniError 999 if the kernel does not limit the pod as the call says. */
export function checkBandwidth(call: Invocation, record: Attachment, { link, context }: CniState): void {
  const bandwidth = readBandwidth(call.conf);
  const pod = localPod(record);
  if (!bandwidth || !pod) return;
  const present = link.dumpSync(qdiscDump());
  for (const item of bandwidthItems({ ...pod, bandwidth }, context.mtu)) {
    if (item.kind !== 'qdisc' || item.qdisc.type !== 'tbf') continue;
    const { rate } = item.qdisc;
    const index = findLink(link, item.dev)?.index;
    if (present.some(({ dev, tbf }) => dev === index && tbf?.rate === rate)) continue;
    throw new CniError(CODE.INTERNAL, `${item.dev} does not limit the pod to ${8 * rate} bit/s`);
  }
}
