import type { LocalPod } from '../cluster/node.ts';
import type { Resources } from '../cluster/resources.ts';
import { type Cidr, contains } from '../ip/cidr.ts';

/**
 * How certain this node is of its subnets. `remembered`: from before the start; valid for running pods, but
 * another node may hold them by now. `lost`: another node holds them. In both states no pod gets an address.
 * `trusted`: remembered, and used because the store is unreachable.
 */
export type Standing = 'unknown' | 'remembered' | 'trusted' | 'confirmed' | 'lost';

/** What else is known. */
type Known = {
  readonly usesBlocks: boolean;
  /** The subnets that the cluster has under this node's name. */
  readonly recorded: readonly Cidr[] | undefined;
  readonly resources: Pick<Resources, 'ipPools'>;
  readonly pods: { list(): readonly LocalPod[] };
};

/** The subnets that this node gives addresses out of. `changed`: called when they or their standing have. */
export class OwnSubnets {
  readonly #known: Known;
  readonly #changed: () => void;
  #list: readonly Cidr[] | undefined;
  #standing: Standing = 'unknown';

  constructor(known: Known, changed: () => void) {
    this.#known = known;
    this.#changed = changed;
  }

  get list(): readonly Cidr[] | undefined {
    return this.#list;
  }

  get standing(): Standing {
    return this.#standing;
  }

  /** Whether another node may hold them, so that no pod may get an address from them. */
  get areDoubtful(): boolean {
    return this.#standing === 'remembered' || this.#standing === 'lost';
  }

  /** Blocks recorded under this node's name that are in no pool, and of which no pod has an address. */
  get strayBlocks(): readonly Cidr[] {
    if (!this.#known.usesBlocks) return [];
    return (this.#known.recorded ?? []).filter((block) => !this.#isInUse(block));
  }

  /** The cluster is known anew, and with it this node's blocks. The caller tells of the change. */
  follow(): void {
    if (this.#known.usesBlocks && this.#list && !this.areDoubtful) this.#list = this.#blocks ?? this.#list;
  }

  /**
   * The store confirms these as ours. With addresses from blocks, joining yields none: the view lists each
   * node's blocks.
   */
  confirm(subnets: readonly Cidr[]): void {
    this.#set(subnets, 'confirmed');
  }

  /** Those that this node had before it started. */
  restore(subnets: readonly Cidr[]): void {
    this.#set(subnets, 'remembered');
  }

  /** Falls back to those remembered because the store is unreachable. */
  trustMemory(): void {
    if (this.#standing !== 'remembered') return;
    this.#standing = 'trusted';
    this.#changed();
  }

  lose(): void {
    this.#standing = 'lost';
    this.#changed();
  }

  /**
   * The blocks recorded under this node's name, in pools or in use: a pool may be deleted while pods have its
   * addresses. They are ours once we are a member; until then another machine may have the name.
   */
  get #blocks(): readonly Cidr[] | undefined {
    return this.#known.recorded?.filter((block) => this.#isInUse(block));
  }

  #isInUse(block: Cidr): boolean {
    const { resources, pods } = this.#known;
    return (
      resources.ipPools.some(({ cidr }) => contains(cidr, block)) ||
      pods.list().some(({ addresses }) => addresses.some((ip) => contains(block, ip)))
    );
  }

  #set(subnets: readonly Cidr[], standing: Standing): void {
    this.#standing = standing;
    this.#list = this.#known.usesBlocks ? (this.#blocks ?? this.#list ?? subnets) : subnets;
    this.#changed();
  }
}
