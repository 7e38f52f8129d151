import { address } from './address.ts';
import { fdb } from './fdb.ts';
import { link } from './link/link.ts';
import { neighbour } from './neighbour.ts';
import { nftElement } from './nft-element.ts';
import { nftTable } from './nft-table.ts';
import { qdisc } from './qdisc.ts';
import { redirect } from './redirect.ts';
import { route } from './route.ts';
import { rule } from './rule.ts';
import { sysctl } from './sysctl.ts';

/** All kinds of item. */
export const KINDS = [
  link,
  address,
  route,
  neighbour,
  fdb,
  rule,
  sysctl,
  nftTable,
  nftElement,
  qdisc,
  redirect,
] as const;

/** An item of any kind. */
export type Item = ItemOf<(typeof KINDS)[number]>;
type ItemOf<K extends { key(item: never): string }> = K extends unknown ? Parameters<K['key']>[0] : never;
