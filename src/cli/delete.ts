import { type Document, type Kind, kindNamed, titleOf } from '../cluster/calico/document.ts';
import { codeOf, FlatnetError } from '../error.ts';
import { remainsOf } from '../ipam/blocks/forget-node.ts';
import { deleteSteps, type Step } from '../store/policies/apply.ts';
import type { Store } from '../store/ports/store.ts';
import { newCommand } from './shared/commands.ts';
import { print } from './shared/output.ts';
import { type Done, doneText, each, fileOption, objectsOf, policyObjectsOf } from './shared/resource-file.ts';
import { type StoreSelection, storeOptions, warnWithoutPeers, withSelectedStore } from './shared/store.ts';

type DeleteOptions = StoreSelection & {
  readonly file?: readonly string[];
  readonly force?: boolean;
  readonly json?: boolean;
};

export const command = storeOptions(
  newCommand(
    'Delete resources, and with -f also policies and what belongs to them. A pool is kept while pods use it or, unless disabled, while nodes have blocks from it. `node` means the node’s configuration, not the node itself: for a node that has left for good see flatnet forget.',
    ['flatnet delete bgppeer rack1', 'flatnet delete node node7', 'flatnet delete -f peers.yaml --lab demo'],
  ),
)
  .argument('[kind]', 'as in `flatnet get`')
  .argument('[name]', 'name of the resource')
  .addOption(fileOption('the resources in this file'))
  .option('--force', 'delete a pool even if it is in use')
  .option('--json', 'print JSON')
  .action(async (word: string | undefined, name: string | undefined, options: DeleteOptions) => {
    const { file, force, json, ...store } = options;
    const deleted = async (
      selected: Store,
      remove: (kind: Kind, name: string) => Promise<string>,
    ): Promise<Done[]> => {
      if (file !== undefined && word === undefined) {
        const { documents, policies } = objectsOf(file);
        const ofPolicies =
          policies.length > 0
            ? await deleteSteps(
                policyObjectsOf(selected),
                policies.map(({ document }) => document),
              )
            : [];
        return each([...documents.map((document) => deletion(document, remove)), ...ofPolicies]);
      }
      if (file !== undefined || word === undefined || name === undefined) {
        throw new FlatnetError('needs a kind and a name, or -f FILE', { code: 'USAGE', operation: 'delete' });
      }
      const kind = kindNamed(word);
      return [{ object: `${kind}/${name}`, outcome: await remove(kind, name) }];
    };
    const done = await withSelectedStore(store, async (selected) => {
      const { resources } = selected;
      const outcomes = await deleted(selected, async (kind, of) => {
        if (kind === 'Node') await warnOfRemains(selected, of, store.lab);
        await resources.delete(kind, of, force);
        return 'deleted';
      });
      await warnWithoutPeers(resources);
      return outcomes;
    });
    print(done, json, doneText);
  });

/** What is not there need not be deleted. */
function deletion(
  { kind, metadata }: Document,
  remove: (kind: Kind, name: string) => Promise<string>,
): Step<string> {
  const run = async (): Promise<string> => {
    try {
      return await remove(kind, metadata.name);
    } catch (error) {
      if (codeOf(error) === 'NOT_FOUND') return 'absent';
      throw error;
    }
  };
  return { title: titleOf({ kind, metadata }), run };
}

/** Warns about a node that is gone but not forgotten: it still holds addresses that others could use. */
async function warnOfRemains(store: Store, node: string, lab: string | undefined): Promise<void> {
  const remains = await remainsOf(store, node);
  if (!remains) return;
  const command = `flatnet forget ${node}${lab === undefined ? '' : ` --lab ${lab}`}`;
  process.stderr.write(
    `warning: ${node} does not answer but holds ${remains.blocks} blocks and ${remains.addresses} addresses; if it has left for good: ${command}\n`,
  );
}
