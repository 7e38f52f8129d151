import { Option } from 'commander';
import { stringify } from 'yaml';
import { idOf, inWritingOrder } from '../../policy/document.ts';
import { newCommand } from '../shared/commands.ts';
import { print, table } from '../shared/output.ts';
import { policyObjectsOf } from '../shared/resource-file.ts';
import { type StoreSelection, storeOptions, withSelectedStore } from '../shared/store.ts';

type Options = StoreSelection & { readonly output?: 'yaml' | 'json'; readonly json?: boolean };

export const command = storeOptions(
  newCommand(
    'List the policies that flatnet apply has written to the store, with Namespaces, Tiers and network sets. What cannot be read is told on standard error.',
    ['flatnet policy list --lab demo', 'flatnet policy list -o yaml >policies.yaml'],
  ),
)
  .addOption(new Option('-o, --output <format>', 'yaml or json, ready to apply').choices(['yaml', 'json']))
  .option('--json', 'print JSON, same as -o json')
  .action(async ({ output, json, ...store }: Options) => {
    const warn = (problem: string): void => void process.stderr.write(`warning: ${problem}\n`);
    const documents = await withSelectedStore(store, (selected) => policyObjectsOf(selected).list(warn));
    const all = inWritingOrder(documents);
    if (output === 'yaml') {
      process.stdout.write(all.map((document) => stringify(document, { lineWidth: 0 })).join('---\n'));
      return;
    }
    print(
      json || output === 'json' ? { apiVersion: 'v1', kind: 'List', items: all } : all,
      json || output === 'json',
      () =>
        table(
          ['KIND', 'NAMESPACE', 'NAME'],
          all.map((document) => {
            const { kind, namespace = '', name } = idOf(document);
            return [kind, namespace, name];
          }),
        ) || 'no policies',
    );
  });
