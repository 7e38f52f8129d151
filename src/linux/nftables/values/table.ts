import type { FieldType } from './field.ts';

export type TableFamily = 'ip' | 'ip6' | 'inet' | 'arp' | 'bridge' | 'netdev';

/** Families that a kernel may lack although it has the others, by what they filter. */
export const OPTIONAL_FAMILIES = { bridge: 'bridges', arp: 'ARP' } as const;

export function isOptional(family: TableFamily): family is keyof typeof OPTIONAL_FAMILIES {
  return family in OPTIONAL_FAMILIES;
}

/** A table's family and name, as in `table inet flatnet-pods`. */
export type TableId = { readonly family: TableFamily; readonly table: string };

/**
 * The structure of a table: everything except the elements of its sets and maps, which change one by one.
 */
export type Table = TableId & {
  readonly sets?: readonly SetValue[];
  readonly flowtables?: readonly Flowtable[];
  readonly chains: readonly Chain[];
};

export type FieldTypes = readonly [FieldType, ...FieldType[]];

/** A set; a map if it has data. Several fields make a concatenation. */
export type SetValue<
  Key extends FieldTypes = FieldTypes,
  Data extends FieldTypes | 'verdict' | undefined = FieldTypes | 'verdict' | undefined,
> = {
  readonly name: string;
  readonly key: Key;
  readonly data?: Data;
  /**
   * Elements may be networks and ranges, but must not overlap. Not for marks and interface names: nft
   * reverses their bytes in such sets.
   */
  readonly interval?: boolean;
  /** Whether each element counts the packets for which it was found. */
  readonly counts?: boolean;
  /** Maximum number of elements. Default: the kernel's own limit. */
  readonly size?: number;
  /** Rules add its elements, which are removed after `timeout`, like `10m`, without use. */
  readonly dynamic?: { readonly timeout: string };
};

/** Lets established connections bypass netfilter. Its elements are the ingress devices. */
export type Flowtable = {
  readonly name: string;
  readonly priority: string | number;
};

/** Anything that has elements. */
export type Holder = SetValue | Flowtable;

export function isFlowtable(holder: Holder): holder is Flowtable {
  return 'priority' in holder;
}

export function holdersOf({ sets = [], flowtables = [] }: Table): readonly Holder[] {
  return [...sets, ...flowtables];
}

export type Chain = {
  readonly name: string;
  /** Where packets enter. Absent: reached only by jumps from rules. */
  readonly hook?: Hook;
  readonly rules: readonly Rule[];
};

export type Hook = {
  readonly type: 'filter' | 'nat' | 'route';
  readonly hook: 'ingress' | 'prerouting' | 'input' | 'forward' | 'output' | 'postrouting';
  /** A number, or a name and an offset: `srcnat + 5`. */
  readonly priority: string | number;
  /** Default: accept. */
  readonly policy?: 'accept' | 'drop';
  /** netdev tables only. */
  readonly device?: string;
};

/** One rule in nft's syntax, with its purpose as a comment. */
export type Rule = { readonly rule: string; readonly comment?: string };

/** `ip flatnet-pods`, as used in nft commands. */
export function tableName({ family, table }: TableId): string {
  return `${family} ${table}`;
}
