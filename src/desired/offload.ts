import type { LocalPod, Self } from '../cluster/node.ts';
import { offloadDevice, offloadTable } from '../policy/flows/offload.ts';
import type { Contribution } from '../state/contributions.ts';
import { BRIDGE } from '../wiring/bridge.ts';
import { DEVICE_PREFIX } from '../wiring/pod-device.ts';

/**
 * What lets established connections of pods bypass the node's chains: the table, and the devices by which
 * routed packets arrive: the underlay's, tunnels, the pods' bridge, and the devices of routed pods.
 */
export function offloadContribution(
  { underlay }: Pick<Self, 'underlay'>,
  pods: readonly LocalPod[],
  backend: Contribution,
): Contribution {
  const tunnels = backend.items.flatMap((item) =>
    item.kind === 'link' && item.link.type !== 'existing' ? [item.name] : [],
  );
  const ofPods = pods.flatMap(({ wiring = 'bridge', hostDevice, foreign }) =>
    wiring === 'bridge' ? [BRIDGE] : hostDevice !== undefined && !foreign ? [hostDevice] : [],
  );
  const devices = [...new Set([underlay.dev, ...tunnels, ...ofPods])];
  return {
    owner: { part: 'offload', name: 'this node' },
    items: [offloadTable({ devices: DEVICE_PREFIX, bridge: BRIDGE }), ...devices.map(offloadDevice)],
    warnings: [],
  };
}
