import { KINDS, type Kind } from '../../cluster/calico/document.ts';
import { FlatnetError } from '../../error.ts';
import { familyOf } from '../../ip/address.ts';
import { type Cidr, parseCidr } from '../../ip/cidr.ts';
import type { KeyRange } from '../kv/kv.ts';
import { BlockKeys } from './block-keys.ts';
import { PolicyKeys } from './policy-keys.ts';

/** flannel's `--etcd-prefix`. */
export const DEFAULT_PREFIX = '/coreos.com/network';

/** A parsed key below the prefix. */
export type KeyKind =
  | { readonly kind: 'config' }
  | { readonly kind: 'lease'; readonly subnets: readonly Cidr[] }
  | { readonly kind: 'node'; readonly name: string }
  | { readonly kind: 'family'; readonly subnet: Cidr }
  | { readonly kind: 'challenge'; readonly name: string }
  | { readonly kind: 'resource'; readonly resource: Kind; readonly name: string }
  | { readonly kind: 'affinity'; readonly node: string; readonly block: Cidr };

/**
 * The keys of one network: flannel's `config` and `subnets/…`, and ours below `flatnet/`, which flannel
 * ignores.
 */
export class Layout {
  /** Ends with a slash: every key of the network starts with it. */
  readonly root: string;
  readonly policies: PolicyKeys;
  readonly #ipam: BlockKeys;

  constructor(prefix: string) {
    this.root = `${prefix.replace(/\/+$/, '')}/`;
    this.#ipam = new BlockKeys(prefix);
    this.policies = new PolicyKeys(prefix);
  }

  /**
   * All keys of the network except pod address assignments, and policies and the pods that they are about,
   * which lie between the two ranges. Those are many, change with every pod of the cluster, and are
   * irrelevant for watching nodes.
   */
  get watched(): readonly [KeyRange, KeyRange] {
    return [
      { from: this.root, to: this.#ipam.blocks },
      { from: endOf(this.policies.root), to: endOf(this.root) },
    ];
  }

  get config(): string {
    return `${this.root}config`;
  }

  /** The prefix of every lease's key. */
  get leases(): string {
    return `${this.root}subnets/`;
  }

  /** A node's subnets, at most one per family. Holds flannel's lease attributes. */
  lease(subnets: readonly Cidr[]): string {
    return this.leases + leaseName(subnets);
  }

  /** The prefix of every node record's key. */
  get nodes(): string {
    return `${this.root}flatnet/nodes/`;
  }

  /** Data that flannel's lease has no field for: name, labels; under the `blocks` plan, the whole node. */
  node(name: string): string {
    return this.nodes + name;
  }

  /**
   * One family's half of a dual-stack lease. Two nodes that join at once may choose the same IPv4 subnet and
   * different IPv6 ones: their lease keys differ, but these keys collide.
   */
  family(subnet: Cidr): string {
    return `${this.root}flatnet/subnets/${leaseName([subnet])}`;
  }

  /** Challenges the node's agent to prove that it is alive. */
  challenge(name: string): string {
    return `${this.root}flatnet/challenges/${name}`;
  }

  /** The prefix of every resource's key. */
  get resources(): string {
    return `${this.root}flatnet/resources/`;
  }

  /** A resource as applied, in JSON. */
  resource(kind: Kind, name: string): string {
    return `${this.resources}${kind}/${name}`;
  }

  /** Written with every change to an IPPool, so that two overlapping ones are never created at once. */
  get pools(): string {
    return `${this.root}flatnet/pools`;
  }

  /** Whether the key records pod address assignments. */
  isAllocation(key: string): boolean {
    return key.startsWith(this.#ipam.blocks) || key.startsWith(this.#ipam.handles);
  }

  /** Undefined for an unknown key; throws ADDRESS_INVALID for a malformed network in the key. */
  kindOf(key: string): KeyKind | undefined {
    if (key === this.config) return { kind: 'config' };
    const rest = (folder: string): string | undefined =>
      key.startsWith(this.root + folder) ? key.slice(this.root.length + folder.length) : undefined;
    const lease = rest('subnets/');
    if (lease !== undefined) return { kind: 'lease', subnets: subnetsOf(lease) };
    const node = rest('flatnet/nodes/');
    if (node !== undefined) return { kind: 'node', name: node };
    const challenge = rest('flatnet/challenges/');
    if (challenge !== undefined) return { kind: 'challenge', name: challenge };
    const [resource, ...named] = rest('flatnet/resources/')?.split('/') ?? [];
    const kind = KINDS.find((each) => each === resource);
    if (kind !== undefined) return { kind: 'resource', resource: kind, name: named.join('/') };
    const ipam = this.#ipam.kindOf(key);
    if (ipam?.kind === 'affinity') return { kind: 'affinity', node: ipam.node, block: ipam.cidr };
    const family = rest('flatnet/subnets/');
    const [subnet] = family === undefined ? [] : subnetsOf(family);
    return subnet === undefined ? undefined : { kind: 'family', subnet };
  }
}

/** The first key after all keys in the folder. */
function endOf(folder: string): string {
  return folder.replace(/\/$/, '0');
}

/**
 * The last part of flannel's lease key: `10.5.34.0-24`, dual stack `10.5.34.0-24&fc00::1:0-64`. An IPv6
 * subnet alone, which flannel cannot express, is written the same way: `fc00::1:0-64`.
 */
export function leaseName(subnets: readonly Cidr[]): string {
  return subnets
    .toSorted((a, b) => familyOf(a) - familyOf(b))
    .map((subnet) => subnet.replace('/', '-'))
    .join('&');
}

/** Parses a name written by `leaseName`. Throws ADDRESS_INVALID. */
export function subnetsOf(name: string): Cidr[] {
  const subnets = name.includes('/') ? [] : name.split('&').map((half) => parseCidr(half.replace('-', '/')));
  if (['4', '6', '4,6'].includes(subnets.map(familyOf).join())) return subnets;
  throw new FlatnetError(`'${name}' is not one subnet, or one of each family`, { code: 'ADDRESS_INVALID' });
}
