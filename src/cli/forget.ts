import { forgetNode } from '../ipam/blocks/forget-node.ts';
import { newCommand } from './shared/commands.ts';
import { print } from './shared/output.ts';
import { removedText, type StoreSelection, storeOptions, withSelectedStore } from './shared/store.ts';

type ForgetOptions = StoreSelection & { readonly force?: boolean; readonly json?: boolean };

export const command = storeOptions(
  newCommand(
    'Forget a node that has left the cluster for good: its record or lease, its Node, its blocks and addresses. Refused while its agent answers, because its pods would keep addresses that others may get.',
    ['flatnet forget node7', 'flatnet forget node7 --lab demo'],
  ),
)
  .argument('<node>')
  .option('--force', 'forget it even if its agent answers')
  .option('--json', 'print JSON')
  .action(async (node: string, { force, json, ...store }: ForgetOptions) => {
    const removed = await withSelectedStore(store, (selected) =>
      forgetNode(selected, node, { force: force === true }),
    );
    print({ node, ...removed }, json, () => `node ${node} is forgotten\n${removedText(removed)}`);
  });
