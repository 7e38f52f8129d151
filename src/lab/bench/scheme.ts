import { BACKENDS } from '../../backends/registry.ts';
import { type Network, readNetwork } from '../../cluster/network.ts';
import { PHYSICAL_WIRINGS } from '../../cluster/wiring.ts';
import { type PresetName, withBackend, withPreset, withWiring } from '../network.ts';

/** A way to carry packets between nodes, and the network of a lab that uses it. */
export type Scheme = { readonly name: string; readonly network: Network };

const POD_NETWORK = { Network: '10.244.0.0/16' };
/** They carry nothing, or what they carry depends on what is outside of a lab. */
const NOT_HERE: readonly string[] = ['alloc', 'bgp', 'extension', 'aws-vpc', 'gce'];
const PRESETS: Readonly<Record<string, PresetName>> = { bgp: 'calico-bgp', 'bgp-ipip': 'calico' };

/** All that a lab can measure: the backends with leases, BGP without and with IPIP, the physical network. */
export function schemes(): readonly Scheme[] {
  return [
    ...BACKENDS.filter(({ type }) => !NOT_HERE.includes(type)).map(({ type }) => ({
      name: type,
      network: readNetwork(withBackend(type, POD_NETWORK)),
    })),
    ...Object.entries(PRESETS).map(([name, preset]) => ({
      name,
      network: readNetwork(withPreset(preset, POD_NETWORK)),
    })),
    ...PHYSICAL_WIRINGS.map((name) => ({ name, network: readNetwork(withWiring(name, {})) })),
  ];
}
