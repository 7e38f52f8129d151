import { encapsulation } from './calico/ip-pool.ts';
import type { Fields } from './fields.ts';
import { isPhysical, WIRING_NAMES, type WiringName } from './wiring.ts';

/**
 * `lease`: a node has one subnet per family, cut from the network's pools. `blocks`: it claims blocks of
 * IPPools as it needs them. `dhcp`: it has none; each pod has a lease of the physical network's server.
 */
export type AddressPlan = (typeof PLANS)[number];
const PLANS = ['lease', 'blocks', 'dhcp'] as const;

/** How pods get their addresses and are wired; the same for every node. */
export type Plan = {
  readonly addresses: AddressPlan;
  readonly wiring: WiringName;
};

/**
 * All lawful combinations: the backends that carry pods of each wiring and address plan. A bridge has a
 * single subnet, so it has no room for blocks, and for BGP every pod needs its own route. Only BGP announces
 * blocks and borrowed addresses. The physical network carries the packets of its pods by itself. A new
 * wiring, plan or backend is refused until it is listed.
 */
const LEASES = [
  'vxlan',
  'vxlan-md',
  'geneve',
  'gre',
  'ipip',
  'udp',
  'host-gw',
  'alloc',
  'extension',
  'aws-vpc',
  'gce',
];
const BACKENDS: Readonly<Record<WiringName, Readonly<Record<AddressPlan, readonly string[]>>>> = {
  bridge: { lease: LEASES, blocks: [], dhcp: [] },
  routed: { lease: [...LEASES, 'bgp'], blocks: ['bgp'], dhcp: [] },
  macvlan: { lease: ['alloc'], blocks: [], dhcp: ['alloc'] },
  ipvlan: { lease: ['alloc'], blocks: [], dhcp: ['alloc'] },
};

/**
 * Reads `addresses` and `wiring`. Throws CONFIG_INVALID naming the value to change. Types of backend that are
 * in no combination are the registry's to refuse: it knows them all.
 */
export function readPlan(fields: Fields, backendType: string): Plan {
  const addresses = word(fields, 'addresses', PLANS);
  const wiring = readWiring(fields);
  requireLawful(fields, { addresses, wiring }, backendType);
  const backend = fields.object('Backend');
  if (backend && backendType === 'bgp') encapsulation(backend, 'ipipMode');
  return { addresses, wiring };
}

/** Reads `wiring` alone. Throws CONFIG_INVALID. */
export function readWiring(fields: Fields): WiringName {
  return word(fields, 'wiring', WIRING_NAMES);
}

/** The types of the backends that carry pods of this plan. */
export function backendsFor({ addresses, wiring }: Plan): readonly string[] {
  return BACKENDS[wiring][addresses];
}

function requireLawful(fields: Fields, { addresses, wiring }: Plan, type: string): void {
  const all = Object.values(BACKENDS).flatMap((plans) => Object.values(plans).flat());
  if (!all.includes(type) || BACKENDS[wiring][addresses].includes(type)) return;
  if (isPhysical(wiring) && type !== 'alloc') {
    throw fields.invalid(
      'Backend.Type',
      `must be alloc where wiring is ${wiring}, not ${type}: the physical network carries its pods’ packets`,
    );
  }
  const wirings = WIRING_NAMES.filter((each) => BACKENDS[each][addresses].length > 0);
  if (!wirings.includes(wiring)) {
    throw fields.invalid('wiring', `must be ${wirings.join(' or ')} where addresses is ${addresses}`);
  }
  const others = WIRING_NAMES.filter((each) => BACKENDS[each][addresses].includes(type));
  if (others.length > 0) {
    throw fields.invalid('wiring', `must be ${others.join(' or ')} where Backend.Type is ${type}`);
  }
  const fit = BACKENDS[wiring][addresses].join(' or ');
  const plans = PLANS.filter((each) => BACKENDS[wiring][each].includes(type)).join(' or ');
  throw fields.invalid(
    'addresses',
    `${addresses} are announced by ${fit}, not by ${type}; set Backend.Type to ${fit}, or addresses to ${plans}`,
  );
}

/** The first is the default. */
function word<T extends string>(fields: Fields, name: string, words: readonly [T, ...T[]]): T {
  const text = fields.string(name)?.toLowerCase();
  if (text === undefined) return words[0];
  const known = words.find((each) => each === text);
  if (known !== undefined) return known;
  throw fields.invalid(name, `must be ${words.join(' or ')}, not '${text}'`);
}
