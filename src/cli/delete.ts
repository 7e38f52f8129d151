import { kindNamed } from '../cluster/calico/document.ts';
import { codeOf, FlatnetError } from '../error.ts';
import { ResourceStore } from '../store/resource-store.ts';
import { warnWithoutPeers } from './bgp-peering.ts';
import { newCommand } from './commands.ts';
import { print } from './output.ts';
import { type Done, doneText, each, fileOption, resourcesOf } from './resource-file.ts';
import { type StoreSelection, storeOptions, withSelectedStore } from './store-options.ts';

type DeleteOptions = StoreSelection & {
  readonly file?: readonly string[];
  readonly force?: boolean;
  readonly json?: boolean;
};

export const command = storeOptions(
  newCommand(
    'Delete resources. A pool is kept while pods have addresses of it, which would be cut off, and until it is disabled, as nodes may be giving out more.',
    ['flatnet delete bgppeer rack1', 'flatnet delete -f peers.yaml --lab demo'],
  ),
)
  .argument('[kind]', 'as of `flatnet get`')
  .argument('[name]', 'which of them')
  .addOption(fileOption('those that this file describes'))
  .option('--force', 'also a pool that is in use')
  .option('--json', 'print JSON')
  .action(async (word: string | undefined, name: string | undefined, options: DeleteOptions) => {
    const { file, force, json, ...store } = options;
    const deleted = async (resources: ResourceStore): Promise<Done[]> => {
      if (file !== undefined && word === undefined) {
        return each(resourcesOf(file), async ({ kind, metadata }) => {
          try {
            await resources.delete(kind, metadata.name, force);
            return 'deleted';
          } catch (error) {
            if (codeOf(error) === 'NOT_FOUND') return 'absent';
            throw error;
          }
        });
      }
      if (file !== undefined || word === undefined || name === undefined) {
        throw new FlatnetError('needs a kind and a name, or -f FILE', { code: 'USAGE', operation: 'delete' });
      }
      const kind = kindNamed(word);
      await resources.delete(kind, name, force);
      return [{ object: `${kind}/${name}`, outcome: 'deleted' }];
    };
    const done = await withSelectedStore(store, async (kv, prefix) => {
      const resources = new ResourceStore(kv, prefix);
      const outcomes = await deleted(resources);
      await warnWithoutPeers(resources);
      return outcomes;
    });
    print(done, json, doneText);
  });
