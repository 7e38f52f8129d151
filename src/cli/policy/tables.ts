import { FAMILIES } from '../../ip/address.ts';
import { tableText } from '../../linux/nftables/values/render.ts';
import { tableName } from '../../linux/nftables/values/table.ts';
import { compilePolicies } from '../../policy/compile/compile.ts';
import { reasonText } from '../../policy/compile/outcome.ts';
import { endOf } from '../../policy/explain/question.ts';
import type { PodEntity } from '../../policy/model/entity.ts';
import { BRIDGE } from '../../wiring/bridge.ts';
import { DEVICE_PREFIX } from '../../wiring/pod-device.ts';
import { collect, newCommand } from '../shared/commands.ts';
import { print } from '../shared/output.ts';
import { clusterOf, readFiles } from '../shared/policy-files.ts';

type Flags = { readonly file: readonly string[]; readonly pod?: readonly string[]; readonly json?: boolean };

/** A node's tables, and which rule each of their verdicts is of. */
type Tables = {
  readonly ruleset: string;
  readonly verdicts: readonly {
    readonly element: string;
    readonly verdict: string;
    readonly because: string;
  }[];
};

export const command = newCommand(
  'Show the nftables of a node that has these pods, by default all: what the kernel holds for the policies, and why.',
  [
    'flatnet policy tables -f cluster.yaml --pod default/web',
    'flatnet policy tables -f cluster.yaml --json | jq .verdicts',
  ],
)
  .requiredOption(
    '-f, --file <file>',
    'pods, namespaces and policies; again for more, - for standard input',
    collect(String),
  )
  .option('--pod <pod>', 'a pod of the node; again for more', collect(String))
  .option('--json', 'print JSON')
  .action(({ file, pod, json }: Flags) => {
    const cluster = clusterOf(readFiles(file));
    const all = cluster.entities.filter((entity): entity is PodEntity => entity.kind === 'pod');
    const pods = pod?.flatMap((name) => endOf(name, cluster.entities).pod ?? []) ?? all;
    const {
      tables,
      directory,
      pods: compiled,
    } = compilePolicies({
      ...cluster,
      subjects: pods.map((each) => ({ pod: each, nets: [] })),
      subnets: [],
      families: FAMILIES.filter((family) =>
        pods.some(({ addresses }) => addresses.some((ip) => ip.includes(':') === (family === 6))),
      ),
      devices: DEVICE_PREFIX,
      bridge: BRIDGE,
    });
    const elements = [...directory, ...[...compiled.values()].flatMap(({ items }) => items)];
    const ruleset = tables.map((table) =>
      tableText(
        table,
        elements.filter((each) => tableName(each) === tableName(table)),
      ),
    );
    const verdicts = [...compiled.values()].flatMap(({ decided }) =>
      decided.map(({ item, outcome }) => ({
        element: `${tableName(item)} ${item.set} ${item.key}`,
        verdict: outcome.verdict,
        because: `${reasonText(outcome.reason)}${outcome.isOneOf ? ', or another rule' : ''}`,
      })),
    );
    print({ ruleset: ruleset.join('\n'), verdicts }, json, describe);
  });

function describe({ ruleset, verdicts }: Tables): string {
  return [
    ruleset,
    ...verdicts.map(({ element, verdict, because }) => `# ${element}: ${verdict}: ${because}`),
  ].join('\n');
}
