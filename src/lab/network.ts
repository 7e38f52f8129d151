import { backendOf } from '../backends/registry.ts';
import { Fields } from '../cluster/fields.ts';
import { type Network, refuseOverlap } from '../cluster/network.ts';
import { FlatnetError } from '../error.ts';
import { FAMILIES, ipToBigInt } from '../ip/address.ts';
import { cidrOf, parseCidr, sizeOf } from '../ip/cidr.ts';
import { UNDERLAY } from './machine/underlay-plan.ts';

type Preset = {
  /** What makes the preset what it is: a file may repeat it, and not say otherwise. */
  readonly fixed: Readonly<Record<string, string>>;
  readonly backend: Readonly<Record<string, string>>;
};

const ROUTED = { addresses: 'blocks', wiring: 'routed' } as const;

/** The two schools, each as its users find it when they have configured nothing. */
const PRESETS = {
  /** One subnet a node, pods on a bridge. The backend is free: VXLAN unless told otherwise. */
  flannel: { fixed: { addresses: 'lease', wiring: 'bridge' }, backend: {} },
  /** Blocks, routed pods, BGP, and IPIP between all nodes. */
  calico: { fixed: ROUTED, backend: { Type: 'bgp', ipipMode: 'Always' } },
  /** The same without encapsulation. */
  'calico-bgp': { fixed: ROUTED, backend: { Type: 'bgp', ipipMode: 'Never' } },
} as const satisfies Record<string, Preset>;

export type PresetName = keyof typeof PRESETS;
export const PRESET_NAMES = Object.keys(PRESETS) as readonly PresetName[];

/**
 * A network configuration as written, filled up with what the preset says. Throws CONFIG_INVALID for a field that says
 * otherwise: the lab would not be what the preset's name promises.
 */
export function withPreset(name: PresetName, source: Readonly<Record<string, unknown>>): unknown {
  const { fixed, backend }: Preset = PRESETS[name];
  const fields = new Fields(source);
  const own = fields.object('Backend') ?? new Fields({}, 'Backend');
  return {
    ...withoutBackend(source),
    ...missing(name, fields, fixed),
    Backend: { ...own.source, ...missing(name, own, backend) },
  };
}

/** The configuration with another backend; what is written of it stays when the type is the same. Throws CONFIG_INVALID. */
export function withBackend(
  type: string,
  source: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  backendOf(type.toLowerCase());
  const own = new Fields(source).object('Backend');
  const same = (own?.string('Type') || 'vxlan').toLowerCase() === type.toLowerCase();
  return { ...withoutBackend(source), Backend: { ...(same && own?.source), Type: type } };
}

/** Keys are matched without case: another spelling of this one must not stand beside it. */
function withoutBackend(source: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(source).filter(([key]) => key.toLowerCase() !== 'backend'));
}

/** Those of `wanted` that are not there yet. */
function missing(
  preset: PresetName,
  fields: Fields,
  wanted: Readonly<Record<string, string>>,
): Record<string, string> {
  const found: Record<string, string> = {};
  for (const [key, value] of Object.entries(wanted)) {
    const written = fields.string(key);
    if (written === undefined) found[key] = value;
    else if (written.toLowerCase() !== value.toLowerCase()) {
      throw new FlatnetError(`is ${written}, and preset ${preset} means ${value}`, {
        code: 'CONFIG_INVALID',
        object: fields.path ? `${fields.path}.${key}` : key,
        fix: 'leave it out, or leave --preset out',
      });
    }
  }
  return found;
}

/** RFC 6890: this host, loopback, link-local; RFC 5771 and 4291: multicast. */
const SPECIAL = [
  '0.0.0.0/8',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '224.0.0.0/4',
  '::/127',
  'fe80::/10',
  'ff00::/8',
].map(parseCidr);

/**
 * Throws CONFIG_INVALID unless the network gives every one of `nodes` nodes a subnet that it can use here. Out of blocks, nodes without
 * one borrow.
 */
export function checkNetwork(network: Network, nodes: number): void {
  refuseOverlap(network, 'the underlay of the lab', UNDERLAY);
  refuseOverlap(network, 'reserved: no pod can have such an address', SPECIAL);
  if (network.addresses === 'blocks') return;
  for (const family of FAMILIES) {
    const pool = network.pools[family];
    if (!pool) continue;
    const { cidr, subnetLength, subnetMin, subnetMax } = pool;
    const size = sizeOf(cidrOf(subnetMin, subnetLength));
    const subnets = (ipToBigInt(subnetMax) - ipToBigInt(subnetMin)) / size + 1n;
    if (subnets >= nodes) continue;
    throw new FlatnetError(
      `${cidr} has ${subnets} subnets of /${subnetLength}, and there are ${nodes} nodes`,
      {
        code: 'CONFIG_INVALID',
        object: family === 4 ? 'Network' : 'IPv6Network',
        fix: 'choose a larger network or fewer nodes, or raise SubnetLen',
      },
    );
  }
}
