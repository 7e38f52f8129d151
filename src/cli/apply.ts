import { checkPools } from '../cluster/calico/change.ts';
import { poolsOf } from '../cluster/calico/decode.ts';
import type { Document } from '../cluster/calico/document.ts';
import { codeOf } from '../error.ts';
import type { NetworkStore } from '../store/ports/network.ts';
import { newCommand } from './shared/commands.ts';
import { print } from './shared/output.ts';
import { doneText, each, fileOption, resourcesOf } from './shared/resource-file.ts';
import { type StoreSelection, storeOptions, warnWithoutPeers, withSelectedStore } from './shared/store.ts';

export const command = storeOptions(
  newCommand(
    'Write resources of projectcalico.org/v3 to the store: IPPool, IPReservation, BGPConfiguration, BGPPeer, BGPFilter, Node. All are checked before the first is written. A resource with a resourceVersion is written only if it has not changed since.',
    ['flatnet apply -f pools.yaml', 'flatnet get ippool -o yaml --lab demo | flatnet apply -f - --lab demo'],
  ),
)
  .addOption(fileOption('YAML or JSON, any number of documents').makeOptionMandatory())
  .option('--json', 'print JSON')
  .action(async ({ file, json, ...store }: StoreSelection & { file: string[]; json?: boolean }) => {
    const documents = resourcesOf(file);
    const done = await withSelectedStore(store, async ({ network, resources }) => {
      const pools = poolsOf(documents);
      if (pools.length > 0) checkPools(pools, await resources.occupied());
      const outcomes = await each(documents, (document) => resources.apply(document));
      await warnWithoutPeers(resources);
      await warnOfUnusedPools(documents, network);
      return outcomes;
    });
    print(done, json, doneText);
  });

/** Warns on standard error about pools in a network whose pods get their addresses otherwise. */
async function warnOfUnusedPools(documents: readonly Document[], store: NetworkStore): Promise<void> {
  if (!documents.some(({ kind }) => kind === 'IPPool')) return;
  const network = await store.read().catch((error: unknown) => {
    if (['NOT_FOUND', 'CONFIG_INVALID'].includes(codeOf(error) ?? '')) return undefined;
    throw error;
  });
  if (network?.addresses !== 'lease') return;
  process.stderr.write(
    'warning: this network does not use IPPools: pods get addresses of their node’s lease (addresses: lease)\n',
  );
}
