import { familyOf, type Ip } from '../../ip/address.ts';
import type { Cidr } from '../../ip/cidr.ts';
import { readSnapshot } from '../../ipam/blocks/snapshot.ts';
import { type BlockUsage, usage } from '../../ipam/blocks/usage.ts';
import { IpamKeys } from '../../store/etcd/block-keys.ts';
import { ClusterState } from '../../store/etcd/cluster-state.ts';
import { DEFAULT_PREFIX, Layout } from '../../store/etcd/layout.ts';
import { withStore } from '../machine/store.ts';
import type { Lab } from '../record/lab.ts';

export type LeaseStatus = {
  /** The node that holds it; its public address where only a flannel lease is known. */
  readonly node: string;
  readonly subnets: readonly Cidr[];
  /** Of the family of its first subnet. */
  readonly publicIp?: Ip;
  readonly backend?: string;
  /** Seconds until it ends unless it is renewed; undefined for a reservation, which does not end. */
  readonly expires?: number;
};

/** The leases as the store has them, sorted by node. */
export async function readLeases(lab: Lab): Promise<LeaseStatus[]> {
  return withStore(lab, async (kv) => {
    const layout = new Layout(DEFAULT_PREFIX);
    const state = new ClusterState(layout, () => {});
    const { items, revision } = await kv.list(layout.root);
    state.reset(items, revision);
    const leases: LeaseStatus[] = [];
    for (const fact of state.facts()) {
      if (fact.kind !== 'lease') continue;
      const { kv: item, subnets, value } = fact;
      const seconds = item.lease === '0' ? undefined : await kv.timeToLive(item.lease);
      const family = subnets[0] ? familyOf(subnets[0]) : 4;
      const publicIp = value?.addresses[family];
      leases.push({
        node: state.leases.ownerOf(item.key) ?? publicIp ?? item.key,
        subnets,
        ...(publicIp ? { publicIp } : {}),
        ...(value ? { backend: value.backend.type } : {}),
        ...(seconds === undefined ? {} : { expires: seconds }),
      });
    }
    return leases.sort((a, b) => a.node.localeCompare(b.node, 'en', { numeric: true }));
  });
}

/** Every block there is, with its owner, in the order of the nodes' names. */
export async function readBlocks(lab: Lab): Promise<BlockUsage[]> {
  return withStore(lab, async (kv) => {
    const snapshot = await readSnapshot(kv, new IpamKeys(DEFAULT_PREFIX));
    return usage(snapshot, [])
      .flatMap(({ blocks }) => blocks)
      .sort((a, b) => a.node.localeCompare(b.node, 'en', { numeric: true }));
  });
}
