import type { AnyItem, Kind } from '../kind.ts';

/** A kind of item held by nftables. */
export interface NftKind<I extends AnyItem> extends Kind<I> {
  readonly executor: 'nftables';
}
