import { Option } from 'commander';
import { networkFileYaml } from '../../cluster/network-file.ts';
import { fileOf } from '../../transfer/contents.ts';
import { exportStore } from '../../transfer/export.ts';
import { newCommand } from '../shared/commands.ts';
import { EXIT, Exit } from '../shared/failure.ts';
import { print } from '../shared/output.ts';
import { type StoreSelection, storeOptions, withSelectedStore } from '../shared/store.ts';

type ExportOptions = StoreSelection & { readonly output: 'json' | 'yaml'; readonly json?: boolean };

export const command = storeOptions(
  newCommand(
    'Write all that a store knows: the network’s configuration, nodes with their leases, pools and BGP resources, blocks and addresses. Exit status 1 means that something is missing in it; standard error says what.',
    [
      'flatnet store export --endpoint http://10.0.0.1:2379 >cluster.json',
      'flatnet store export --kubeconfig ~/.kube/config -o yaml >cluster.yaml',
    ],
  ),
)
  .addOption(new Option('-o, --output <format>', 'json or yaml').choices(['json', 'yaml']).default('json'))
  .option('--json', 'print JSON, same as -o json')
  .action(async ({ output, json, ...selection }: ExportOptions) => {
    const { contents, leftOut } = await withSelectedStore(selection, exportStore);
    const file = fileOf(contents);
    if (json || output === 'json') print(file, true, () => '');
    else process.stdout.write(networkFileYaml(file));
    for (const problem of leftOut) process.stderr.write(`warning: left out: ${problem}\n`);
    if (leftOut.length > 0) throw new Exit(EXIT.failed);
  });
