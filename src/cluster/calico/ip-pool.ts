import { type Family, familyOf } from '../../ip/address.ts';
import { type Cidr, lengthOf, overlaps, parseCidr } from '../../ip/cidr.ts';
import type { Fields } from '../fields.ts';
import type { Encapsulation, IpPool, IpReservation } from '../resources.ts';
import { type Fixed, parsed, refuseOthers, required, word } from './spec.ts';
import { network, networkOrAddress, selector } from './values.ts';

const FIELDS = [
  'cidr',
  'blockSize',
  'ipipMode',
  'natOutgoing',
  'disabled',
  'disableBGPExport',
  'nodeSelector',
  'namespaceSelector',
  'assignmentMode',
];

const OLD: Fixed = { only: [], why: 'it belongs to the old API; use ipipMode and natOutgoing' };
const FIXED: Readonly<Record<string, Fixed>> = {
  vxlanMode: {
    only: ['Never'],
    why: 'pools are routed by BGP, with or without ipipMode; for VXLAN set the network’s Backend.Type to vxlan',
  },
  allowedUses: {
    only: [[], ['Workload', 'Tunnel'], ['Tunnel', 'Workload']],
    why: 'a pool serves pods and tunnels; leave it out',
  },
  awsSubnetID: { only: [], why: 'flatnet does not support AWS' },
  ipip: OLD,
  'nat-outgoing': OLD,
};

const BLOCKS: Record<Family, { min: number; usual: number; max: number }> = {
  4: { min: 20, usual: 26, max: 32 },
  6: { min: 116, usual: 122, max: 128 },
};

/** Networks that pods cannot use: this host, link-local, multicast. */
const UNUSABLE = [
  '0.0.0.0/8',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '224.0.0.0/4',
  '::1/128',
  'fe80::/10',
  'ff00::/8',
].map(parseCidr);

export function readIpPool(name: string, spec: Fields): IpPool {
  refuseOthers(spec, FIELDS, FIXED);
  const cidr = required(spec, 'cidr', parsed(spec, 'cidr', network));
  const unusable = UNUSABLE.find((other) => overlaps(other, cidr));
  if (unusable) throw spec.invalid('cidr', `${cidr} overlaps ${unusable}, which pods cannot use`);
  const family = familyOf(cidr);
  const ipipMode = encapsulation(spec, 'ipipMode') ?? 'Never';
  if (family === 6 && ipipMode !== 'Never') {
    throw spec.invalid('ipipMode', `IPIP carries IPv4 only; write Never for ${cidr}`);
  }
  const namespaceSelector = parsed(spec, 'namespaceSelector', selector);
  return {
    name,
    cidr,
    blockSize: blockSize(spec, cidr),
    ipipMode,
    natOutgoing: spec.boolean('natOutgoing') ?? false,
    disabled: spec.boolean('disabled') ?? false,
    disableBgpExport: spec.boolean('disableBGPExport') ?? false,
    nodeSelector: parsed(spec, 'nodeSelector', selector) ?? 'all()',
    ...(namespaceSelector !== undefined && { namespaceSelector }),
    assignmentMode: word(spec, 'assignmentMode', ['Automatic', 'Manual'] as const) ?? 'Automatic',
  };
}

export function encapsulation(fields: Fields, name: string): Encapsulation | undefined {
  return word(fields, name, ['Never', 'Always', 'CrossSubnet']);
}

function blockSize(spec: Fields, cidr: Cidr): number {
  const { min, usual, max } = BLOCKS[familyOf(cidr)];
  // 0 counts as absent, as in Go.
  const size = spec.raw('blockSize') === 0 ? usual : (spec.integer('blockSize', min, max) ?? usual);
  if (size >= lengthOf(cidr)) return size;
  throw spec.invalid(
    spec.has('blockSize') ? 'blockSize' : 'cidr',
    `a pool of ${cidr} cannot hold a block of /${size}; write a blockSize of ${lengthOf(cidr)} or more`,
  );
}

export function readIpReservation(name: string, spec: Fields): IpReservation {
  refuseOthers(spec, ['reservedCIDRs']);
  return { name, cidrs: spec.parsedList('reservedCIDRs', networkOrAddress) ?? [] };
}
