import type { ResourceStore } from '../store/etcd/resource-store.ts';

/** Says on standard error when what is in the store now leaves every node without BGP peers. */
export async function warnWithoutPeers(store: ResourceStore): Promise<void> {
  const all = await store.list(undefined, () => {});
  const isMeshOff = all.some(
    ({ resource }) => resource.kind === 'BGPConfiguration' && !resource.value.nodeToNodeMeshEnabled,
  );
  if (!isMeshOff || all.some(({ resource }) => resource.kind === 'BGPPeer')) return;
  process.stderr.write(
    'warning: nodeToNodeMeshEnabled is false and there is no BGPPeer: nodes tell each other no routes\n',
  );
}
