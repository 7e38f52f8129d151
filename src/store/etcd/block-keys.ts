import { type Cidr, parseCidr } from '../../ip/cidr.ts';

/** A parsed key below `<prefix>/flatnet/ipam/`. */
export type BlockKey =
  | { readonly kind: 'config' }
  | { readonly kind: 'block'; readonly cidr: Cidr }
  | { readonly kind: 'affinity'; readonly node: string; readonly cidr: Cidr }
  | { readonly kind: 'handle'; readonly id: string };

/** Keys of the `blocks` address plan. Networks are written with `-` for `/`: `10.0.0.0-26`, `fd00::-122`. */
export class BlockKeys {
  /** Ends with a slash: every key of the plan starts with it. */
  readonly root: string;

  /** `prefix`: the network's prefix, as in flannel's `--etcd-prefix`. */
  constructor(prefix: string) {
    this.root = `${prefix.replace(/\/+$/, '')}/flatnet/ipam/`;
  }

  get config(): string {
    return `${this.root}config`;
  }

  get blocks(): string {
    return `${this.root}blocks/`;
  }

  block(cidr: Cidr): string {
    return this.blocks + nameOf(cidr);
  }

  /** Prefix of one node's affinities, or of all. */
  affinities(node?: string): string {
    return `${this.root}affinities/${node === undefined ? '' : `${node}/`}`;
  }

  affinity(node: string, cidr: Cidr): string {
    return this.affinities(node) + nameOf(cidr);
  }

  get handles(): string {
    return `${this.root}handles/`;
  }

  /** Encoded, because a handle may contain any character: interface names may contain a slash. */
  handle(id: string): string {
    return this.handles + encodeURIComponent(id);
  }

  /** Undefined for any key that the methods above do not produce. */
  kindOf(key: string): BlockKey | undefined {
    if (!key.startsWith(this.root)) return undefined;
    const [folder, first, second, ...more] = key.slice(this.root.length).split('/');
    if (more.length > 0) return undefined;
    if (folder === 'config' && first === undefined) return { kind: 'config' };
    if (!first) return undefined;
    if (folder === 'affinities' && second) {
      const cidr = cidrFrom(second);
      return cidr && { kind: 'affinity', node: first, cidr };
    }
    if (second !== undefined) return undefined;
    if (folder === 'blocks') {
      const cidr = cidrFrom(first);
      return cidr && { kind: 'block', cidr };
    }
    const id = folder === 'handles' ? decoded(first) : undefined;
    return id === undefined ? undefined : { kind: 'handle', id };
  }
}

function nameOf(cidr: Cidr): string {
  return cidr.replace('/', '-');
}

function cidrFrom(name: string): Cidr | undefined {
  try {
    const cidr = parseCidr(name.replace('-', '/'));
    return nameOf(cidr) === name ? cidr : undefined;
  } catch {
    return undefined;
  }
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
