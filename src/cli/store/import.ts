import { configuredBackend } from '../../backends/registry.ts';
import { parseNetworkFile } from '../../cluster/network-file.ts';
import { FlatnetError } from '../../error.ts';
import { type Imported, importStore } from '../../transfer/import.ts';
import { readContents } from '../../transfer/read.ts';
import { newCommand } from '../shared/commands.ts';
import { inFile } from '../shared/network.ts';
import { print } from '../shared/output.ts';
import { readText } from '../shared/read-text.ts';
import { type StoreSelection, storeOptions, withSelectedStore } from '../shared/store.ts';

type ImportOptions = StoreSelection & {
  readonly file: string;
  readonly dryRun?: boolean;
  readonly replace?: boolean;
  readonly json?: boolean;
};

export const command = storeOptions(
  newCommand(
    'Write what flatnet store export wrote to another store. All of it is checked and compared with the store before anything is written. What is there already stays; doing it twice changes nothing.',
    [
      'flatnet store import -f cluster.json --kubeconfig ~/.kube/config --dry-run',
      'flatnet store export --lab demo | flatnet store import -f - --endpoint http://10.0.0.1:2379',
    ],
  ),
)
  .requiredOption('-f, --file <file>', 'the file; - is standard input')
  .option('--dry-run', 'check it and show what would change; write nothing')
  .option('--replace', 'overwrite what is different in the store; never nodes')
  .option('--json', 'print JSON')
  .action(async ({ file, dryRun = false, replace = false, json, ...selection }: ImportOptions) => {
    if (selection.lab !== undefined) {
      throw new FlatnetError('a lab keeps a record of its own network', {
        code: 'USAGE',
        object: '--lab',
        fix: 'change it by flatnet config apply and flatnet apply',
      });
    }
    const filename = file === '-' ? 'standard input' : file;
    const value = parseNetworkFile(readText(file, 'CONFIG_INVALID'), filename);
    const contents = inFile(filename, () =>
      readContents(value, (network) => void configuredBackend(network)),
    );
    const imported = await withSelectedStore(selection, (store) =>
      importStore(contents, store, { dryRun, replace }),
    );
    print({ dryRun, objects: imported }, json, () => importedText(imported, dryRun));
  });

function importedText(imported: readonly Imported[], dryRun: boolean): string {
  const changed = imported.filter(({ outcome }) => outcome !== 'unchanged');
  const counts = (['created', 'replaced', 'unchanged'] as const).map(
    (outcome) => `${imported.filter((each) => each.outcome === outcome).length} ${outcome}`,
  );
  return [
    ...changed.map(({ object, outcome }) => `${object} ${outcome}`),
    `${counts.join(', ')}${dryRun ? ' (dry run: nothing was written)' : ''}`,
  ].join('\n');
}
