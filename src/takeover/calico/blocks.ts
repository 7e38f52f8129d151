import { Fields } from '../../cluster/fields.ts';
import { type Cidr, contains, lengthOf, nthIp, parseCidr, sizeOf } from '../../ip/cidr.ts';
import type { CalicoObject } from './object.ts';

/** A block of Calico's, as far as it means something to us. */
export type FoundBlock = {
  readonly cidr: Cidr;
  readonly node: string;
  /** Addresses of pods here, and of pods on other nodes. */
  readonly pods: number;
  readonly borrowed: number;
  /** Of Calico's tunnel devices. */
  readonly tunnels: number;
};

/** Maps an IPAMBlock; returns the reason if it cannot be a block of ours. */
export function mapBlock({ spec }: CalicoObject, pools: readonly Cidr[]): FoundBlock | string {
  const cidr = spec.parsed('cidr', parseCidr);
  if (cidr === undefined) return 'it has no cidr';
  if (spec.boolean('deleted')) return 'it is being deleted';
  const pool = pools.find((each) => contains(each, nthIp(cidr, 0)) && lengthOf(each) <= lengthOf(cidr));
  if (!pool) return `no pool that flatnet takes contains ${cidr}`;
  const affinity = spec.string('affinity') ?? '';
  const [, node] = /^host:(.+)$/.exec(affinity) ?? [];
  if (node === undefined)
    return affinity === ''
      ? 'no node has it: its addresses are borrowed ones'
      : `its affinity is ${affinity}`;
  return counted(cidr, node, spec);
}

function counted(cidr: Cidr, node: string, spec: Fields): FoundBlock | string {
  const attributes = (spec.list('attributes') ?? []).map((value, i) =>
    ofAttribute(new Fields(value, `attributes[${i}]`)),
  );
  const ordinals = spec.list('allocations') ?? [];
  if (BigInt(ordinals.length) > sizeOf(cidr))
    return `it lists ${ordinals.length} addresses, ${cidr} has fewer`;
  const block = { cidr, node, pods: 0, borrowed: 0, tunnels: 0 };
  for (const index of ordinals) {
    if (index === null) continue;
    const attribute = attributes[Number(index)];
    if (!attribute) return `an address refers to attribute ${String(index)}, which is not there`;
    if (attribute.type.endsWith('TunnelAddress')) block.tunnels++;
    else if (attribute.node !== '' && attribute.node !== node) block.borrowed++;
    else block.pods++;
  }
  return block;
}

function ofAttribute(attribute: Fields): { readonly node: string; readonly type: string } {
  const secondary = attribute.object('secondary') ?? new Fields({});
  return { node: secondary.string('node') ?? '', type: secondary.string('type') ?? '' };
}

/** What a block means, for people. */
export function blockText({ node, pods, borrowed, tunnels }: FoundBlock): string {
  return [
    `${node} has it: ${pods} addresses of its pods stay`,
    borrowed > 0 && `${borrowed} of other nodes’ pods too`,
    tunnels > 0 && `${tunnels} of Calico’s tunnels become free`,
  ]
    .filter(Boolean)
    .join(', ');
}
