import { ResourceStore } from '../store/resource-store.ts';
import { newCommand } from './commands.ts';
import { print } from './output.ts';
import { doneText, each, resourcesOf } from './resource-file.ts';
import { type StoreSelection, storeOptions, withSelectedStore } from './store-options.ts';

export const command = storeOptions(
  newCommand(
    'Write resources of projectcalico.org/v3 to the store: IPPool, IPReservation, BGPConfiguration, BGPPeer, BGPFilter, Node. All are checked before the first is written. With a resourceVersion, only if nobody has changed it since.',
    ['flatnet apply -f pools.yaml', 'flatnet get ippool -o yaml --lab demo | flatnet apply -f - --lab demo'],
  ),
)
  .requiredOption('-f, --file <file>', 'YAML or JSON, any number of documents; - is standard input')
  .option('--json', 'print JSON')
  .action(async ({ file, json, ...store }: StoreSelection & { file: string; json?: boolean }) => {
    const documents = resourcesOf(file);
    const done = await withSelectedStore(store, (kv, prefix) => {
      const resources = new ResourceStore(kv, prefix);
      return each(documents, (document) => resources.apply(document));
    });
    print(done, json, doneText);
  });
