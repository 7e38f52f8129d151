import { newCommand } from './shared/commands.ts';
import { print } from './shared/output.ts';
import { checkPools, doneText, each, fileOption, resourcesOf } from './shared/resource-file.ts';
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
    const done = await withSelectedStore(store, async ({ resources }) => {
      await checkPools(documents, resources);
      const outcomes = await each(documents, (document) => resources.apply(document));
      await warnWithoutPeers(resources);
      return outcomes;
    });
    print(done, json, doneText);
  });
