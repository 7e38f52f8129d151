import { Option } from 'commander';
import { API_VERSION, kindNamed } from '../cluster/calico/document.ts';
import { writeManifest } from '../cluster/calico/manifest.ts';
import { newCommand } from './shared/commands.ts';
import { print } from './shared/output.ts';
import { resourceTable } from './shared/resource-table.ts';
import { type StoreSelection, storeOptions, withSelectedStore } from './shared/store.ts';

type GetOptions = StoreSelection & {
  readonly output?: 'yaml' | 'json' | 'wide';
  readonly json?: boolean;
};

export const command = storeOptions(
  newCommand('Show resources: ippool, ipreservation, bgpconfiguration, bgppeer, bgpfilter, node.', [
    'flatnet get ippools -o wide',
    'flatnet get bgppeer rack1 -o yaml --lab demo',
  ]),
)
  .argument('<kind>', 'plurals and short forms such as pools and peers work too')
  .argument('[name]', 'name of the resource')
  .addOption(
    new Option('-o, --output <format>', 'yaml or json, ready to apply, or a wider table').choices([
      'yaml',
      'json',
      'wide',
    ]),
  )
  .option('--json', 'print JSON, same as -o json')
  .action(async (word: string, name: string | undefined, { output, json, ...store }: GetOptions) => {
    const kind = kindNamed(word);
    const found = await withSelectedStore(store, async ({ resources }) => {
      if (name !== undefined) return [await resources.get(kind, name)];
      return resources.list(kind, (problem) => process.stderr.write(`warning: ${problem}\n`));
    });
    const documents = found.map(({ document }) => document);
    if (json || output === 'json') {
      const list = { apiVersion: API_VERSION, kind: `${kind}List`, items: documents };
      print(name === undefined ? list : documents[0], true, () => '');
    } else if (output === 'yaml') process.stdout.write(writeManifest(documents));
    else print(found, false, () => resourceTable(kind, found, output === 'wide'));
  });
