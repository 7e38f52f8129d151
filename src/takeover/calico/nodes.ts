import type { Line, Plan } from '../plan.ts';
import type { CalicoObject } from './object.ts';

/** Of Calico's annotations on Kubernetes' Node: what a person has set, as Calico finds out the rest. */
const SETTINGS = {
  'projectcalico.org/ASNumber': 'bgp.asNumber',
  'projectcalico.org/RouteReflectorClusterID': 'bgp.routeReflectorClusterID',
} as const;

const ADDRESSES = ['projectcalico.org/IPv4Address', 'projectcalico.org/IPv6Address'];

/** What Calico has noted on a Node of Kubernetes: addresses, and settings that become a resource Node. */
export function nodeLines({ name, metadata }: CalicoObject): Plan {
  const annotations = metadata.object('annotations')?.source ?? {};
  const text = (key: string): string => String(annotations[key] ?? '');
  const addresses = ADDRESSES.map(text).filter(Boolean);
  const settings = Object.entries(SETTINGS).filter(([key]) => text(key) !== '');
  const steps: Line[] = [
    addresses.length > 0
      ? {
          action: 'keep',
          object: `node ${name}`,
          text: `${addresses.join(' ')}: its agent finds them by the default route; if not these, set iface`,
        }
      : { action: 'leave', object: `node ${name}`, text: 'Calico has noted no address on it' },
    ...(settings.length > 0
      ? [
          {
            action: 'write' as const,
            object: `Node/${name}`,
            text: settings.map(([key, field]) => `${field} ${text(key)}`).join(', '),
          },
        ]
      : []),
  ];
  return { steps, obstacles: [] };
}
