import type { Family, Ip } from '../../ip/address.ts';
import type { Cidr } from '../../ip/cidr.ts';
import type { PodEntity } from '../model/entity.ts';
import type { Tier } from '../model/policy.ts';
import type { Directory } from './identities.ts';

/** A pod of this node. */
export type Subject = {
  readonly pod: PodEntity;
  /** Further networks that it may send from. */
  readonly nets: readonly Cidr[];
};

/** How connections are told to whoever listens to a group of NFLOG. */
export type Logging = {
  readonly group: number;
  /** Whether what is denied is told, too, besides what rules want written down. */
  readonly denied: boolean;
};

export type PolicyFacts = Directory & {
  /** In order. A change makes a new list. */
  readonly tiers: readonly Tier[];
  readonly subjects: readonly Subject[];
  /** The addresses of this node's pods about which nobody knows yet which policies are. */
  readonly waiting?: readonly Ip[];
  /** The networks of this node's pods on the bridge. */
  readonly subnets: readonly Cidr[];
  readonly families: readonly Family[];
  readonly devices: string;
  readonly bridge: string;
  /** Absent: nobody listens. */
  readonly logging?: Logging | undefined;
};
