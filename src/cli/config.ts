import { Option } from 'commander';
import { networkFileYaml } from '../cluster/network-file.ts';
import { FlatnetError, messageOf } from '../error.ts';
import { type Applied, applyNetwork } from './shared/apply-network.ts';
import { newCommand } from './shared/commands.ts';
import { print } from './shared/output.ts';
import { type StoreSelection, storeOptions, withSelectedStore } from './shared/store.ts';

export const command = newCommand('Show and change the network’s configuration, which all nodes share.', [
  'flatnet config get -o yaml --lab demo',
  'flatnet config apply -f net-conf.json --endpoint http://10.0.0.1:2379',
]);

type GetOptions = StoreSelection & { readonly output: 'json' | 'yaml'; readonly json?: boolean };

const get = storeOptions(
  newCommand('Show the configuration as it was written: flannel’s net-conf.json, or the same as YAML.', [
    'flatnet config get',
    'flatnet config get -o yaml >network.yaml',
  ]),
)
  .addOption(
    new Option('-o, --output <format>', 'json or yaml, ready to apply')
      .choices(['json', 'yaml'])
      .default('json'),
  )
  .option('--json', 'print JSON, same as -o json')
  .action(async ({ output, json, ...selection }: GetOptions) => {
    const text = await withSelectedStore(selection, async ({ network }) => {
      const stored = await network.text();
      // Says what is wrong with it, or that there is none.
      await network.read().catch((error: unknown) => {
        if (!stored) throw error;
        process.stderr.write(`warning: ${messageOf(error)}\n`);
      });
      return stored?.value ?? '';
    });
    const value = parsed(text);
    if (json || output === 'json') print(value, true, () => '');
    else process.stdout.write(networkFileYaml(value));
  });

type ApplyOptions = StoreSelection & {
  readonly file: string;
  readonly dryRun?: boolean;
  readonly json?: boolean;
};

const apply = storeOptions(
  newCommand(
    'Write the configuration and show what changes. It is checked in full first, and written only if nobody else changes it meanwhile. Agents apply it at once, also a change of backend.',
    [
      'flatnet config apply -f network.yaml --dry-run',
      'flatnet config get --lab demo | sed s/vxlan/host-gw/ | flatnet config apply -f - --lab demo',
    ],
  ),
)
  .requiredOption(
    '-f, --file <file>',
    'flannel’s net-conf.json, or the same keys as YAML; - is standard input',
  )
  .option('--dry-run', 'check it and show what would change; write nothing')
  .option('--json', 'print JSON')
  .action(async ({ file, dryRun = false, json, ...selection }: ApplyOptions) => {
    print(await applyNetwork(selection, file, dryRun), json, appliedText);
  });

command.addCommand(get.name('get').summary('show it'));
command.addCommand(apply.name('apply').summary('write it'));

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new FlatnetError(`the text in the store is not JSON: ${messageOf(cause)}`, {
      code: 'CONFIG_INVALID',
      fix: 'replace it: flatnet config apply -f FILE',
      cause,
    });
  }
}

function appliedText({ outcome, dryRun, changes }: Applied): string {
  const lines = changes.map(({ key, before, after }) => {
    if (before === undefined) return `+ ${key}: ${valueText(after)}`;
    if (after === undefined) return `- ${key}: ${valueText(before)}`;
    return `~ ${key}: ${valueText(before)} → ${valueText(after)}`;
  });
  const what = outcome === 'configured' && changes.length === 0 ? `${outcome}; no setting differs` : outcome;
  return [...lines, `network ${what}${dryRun ? ' (dry run: nothing was written)' : ''}`].join('\n');
}

function valueText(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}
