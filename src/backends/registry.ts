import { Fields, type Unread } from '../cluster/fields.ts';
import { type Network, readNetworkFields } from '../cluster/network.ts';
import { NO_RESOURCES, type Resources } from '../cluster/resources.ts';
import { FlatnetError } from '../error.ts';
import { alloc } from './alloc.ts';
import { awsVpc } from './aws-vpc.ts';
import type { Backend } from './backend.ts';
import { bgp } from './bgp.ts';
import { extension } from './extension.ts';
import { gce } from './gce.ts';
import { geneve } from './geneve.ts';
import { gre } from './gre.ts';
import { hostGw } from './host-gw.ts';
import { ipip } from './ipip.ts';
import { udp } from './udp.ts';
import { vxlan } from './vxlan.ts';
import { vxlanMd } from './vxlan-md.ts';

/** All backends. */
export const BACKENDS: readonly Backend[] = [
  vxlan,
  vxlanMd,
  geneve,
  gre,
  ipip,
  udp,
  hostGw,
  bgp,
  alloc,
  extension,
  awsVpc,
  gce,
];

/** A backend with its parsed options. */
export type Configured = { readonly backend: Backend; readonly options: unknown };

/** The backend of that type. Throws CONFIG_INVALID. */
export function backendOf(type: string): Backend {
  const found = BACKENDS.find((backend) => backend.type === type);
  if (found) return found;
  throw new FlatnetError(`unknown backend '${type}'`, {
    code: 'CONFIG_INVALID',
    object: 'Backend.Type',
    fix: `use one of ${BACKENDS.map((backend) => backend.type).join(', ')}`,
  });
}

/** The backend a network is configured with. Throws CONFIG_INVALID naming the field. */
export function configuredBackend(network: Network, resources: Resources = NO_RESOURCES): Configured {
  const backend = backendOf(network.backend.type);
  return { backend, options: backend.options(new Fields(network.backend.options, 'Backend'), resources) };
}

/**
 * Returns the keys of a net-conf.json that neither flatnet nor its backend knows. They may be flannel's or a
 * newer release's, or misspelt. Throws CONFIG_INVALID.
 */
export function unknownKeys(value: unknown): Unread[] {
  const fields = new Fields(value);
  const { backend } = readNetworkFields(fields);
  const options = new Fields(backend.options, 'Backend');
  backendOf(backend.type).options(options, NO_RESOURCES);
  return [...fields.unread(), ...options.unread()];
}
