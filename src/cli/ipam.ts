import { InvalidArgumentError } from 'commander';
import type { IpPool } from '../cluster/resources.ts';
import { FlatnetError } from '../error.ts';
import { ipCompare } from '../ip/address.ts';
import { addressOf } from '../ip/cidr.ts';
import { checkIpam, type Report } from '../ipam/blocks/check.ts';
import { removeNode } from '../ipam/blocks/forget-node.ts';
import { repairIpam } from '../ipam/blocks/repair.ts';
import { type BlockUsage, borrowedUsage, type PoolUsage, usage } from '../ipam/blocks/usage.ts';
import type { IpamConfig } from '../store/ports/blocks.ts';
import type { Store } from '../store/ports/store.ts';
import { integer, newCommand } from './shared/commands.ts';
import { EXIT, Exit } from './shared/failure.ts';
import { paint, print, table } from './shared/output.ts';
import { removedText, type StoreSelection, storeOptions, withSelectedStore } from './shared/store.ts';

type Options = StoreSelection & { readonly json?: boolean };

export const command = newCommand('Inspect and configure address blocks (address plan `blocks`).', [
  'flatnet ipam check --lab flatnet',
  'flatnet ipam show --blocks',
  'flatnet ipam show --borrowed --json',
  'flatnet ipam configure --strict-affinity true',
]);

storeOptions(command.command('check'))
  .description(
    'Check that blocks, affinities, handles and pools are consistent, on one snapshot. Exit status 1 if there are errors.',
  )
  .option('--repair', 'finish operations that crashes interrupted, and rebuild the index of handles')
  .option('--json', 'print JSON')
  .action(async (options: Options & { readonly repair?: boolean }) => {
    const report = await withSelectedStore(options, async (store) => {
      const repaired = options.repair ? await repairIpam(store.blocks) : [];
      for (const done of repaired) process.stderr.write(`repaired: ${done}\n`);
      const [pools, nodes] = [await poolsOf(store), await store.membership.names()];
      return checkIpam(store.blocks, { pools, nodes });
    });
    print(report, options.json, reportText);
    if (report.findings.some(({ severity }) => severity === 'error')) throw new Exit(EXIT.failed);
  });

storeOptions(command.command('show'))
  .description('Show how full the pools are.')
  .option('--blocks', 'include each block')
  .option('--borrowed', 'show the addresses that nodes use from other nodes’ blocks instead')
  .option('--json', 'print JSON')
  .action(async (options: Options & { readonly blocks?: boolean; readonly borrowed?: boolean }) => {
    const { snapshot, pools } = await withSelectedStore(options, async (store) => ({
      snapshot: await store.blocks.snapshot(),
      pools: await poolsOf(store),
    }));
    for (const { object, problem } of snapshot.unreadable) {
      process.stderr.write(`warning: ${object} is skipped: ${problem}\n`);
    }
    if (options.borrowed) {
      const header = ['IP', 'BORROWING NODE', 'BLOCK', 'BLOCK OWNER', 'TYPE', 'ALLOCATED TO'];
      return print(
        borrowedUsage(snapshot),
        options.json,
        (all) =>
          table(
            header,
            all.map(({ ip, node, block, owner, type, allocatedTo }) => [
              ip,
              node,
              block,
              owner,
              type,
              allocatedTo,
            ]),
          ) || 'no borrowed addresses',
      );
    }
    const all = usage(snapshot, pools).map((pool) => ({ ...pool, blocks: pool.blocks.toSorted(byAddress) }));
    print(all, options.json, () => usageText(all, options.blocks === true));
  });

storeOptions(command.command('configure'))
  .description('Show or change how blocks are assigned in the whole cluster.')
  .option('--strict-affinity <boolean>', 'nodes take no addresses from other nodes’ blocks', yesOrNo)
  .option('--auto-allocate-blocks <boolean>', 'nodes claim blocks as they need them', yesOrNo)
  .option('--max-blocks-per-host <count>', 'per family; 0: the default', integer(0, 100_000))
  .option('--cooldown <seconds>', 'how long an address rests after its release', integer(0, 86_400))
  .option('--json', 'print JSON')
  .action(async (options: Options & Partial<IpamConfig>) => {
    const { strictAffinity, autoAllocateBlocks, maxBlocksPerHost, cooldown } = options;
    const change = { strictAffinity, autoAllocateBlocks, maxBlocksPerHost, cooldown };
    const config = await withSelectedStore(options, ({ blocks }) =>
      blocks.configure(JSON.parse(JSON.stringify(change))),
    );
    print(config, options.json, (all) =>
      Object.entries(all)
        .map(([name, value]) => `${name}: ${value}`)
        .join('\n'),
    );
  });

storeOptions(command.command('release'))
  .description('Release all addresses and blocks of a node that has left the cluster for good.')
  .requiredOption('--node <node>', 'name of the node')
  .option(
    '--force',
    'release even if the node is still in the cluster; others may then get addresses that its pods still use',
  )
  .option('--json', 'print JSON')
  .action(async (options: Options & { readonly node: string; readonly force?: boolean }) => {
    const removed = await withSelectedStore(options, async ({ membership, blocks }) => {
      if (!options.force && (await membership.names()).has(options.node)) throw stillThere(options.node);
      return removeNode(blocks, options.node);
    });
    print(removed, options.json, removedText);
  });

async function poolsOf({ resources }: Store): Promise<readonly IpPool[]> {
  const warn = (problem: string): void => void process.stderr.write(`warning: ${problem}\n`);
  const found = await resources.list('IPPool', warn);
  return found.flatMap(({ resource }) => (resource.kind === 'IPPool' ? [resource.value] : []));
}

function reportText({ findings, counts }: Report): string {
  const { blocks, addresses, borrowed, handles, nodes } = counts;
  const rows = findings.map(({ severity, code, object, text }) => [
    paint(severity === 'error' ? 'red' : 'yellow', severity),
    code,
    object,
    text,
  ]);
  const errors = findings.filter(({ severity }) => severity === 'error').length;
  return [
    `${blocks} blocks of ${nodes} nodes, ${addresses} addresses in use (${borrowed} borrowed), ${handles} handles`,
    ...(rows.length ? [table(['', 'PROBLEM', 'OBJECT', 'DETAILS'], rows)] : []),
    `Check complete; found ${errors} errors and ${findings.length - errors} warnings.`,
  ].join('\n\n');
}

function byAddress(a: BlockUsage, b: BlockUsage): number {
  return ipCompare(addressOf(a.cidr), addressOf(b.cidr));
}

function usageText(pools: readonly PoolUsage[], blocks: boolean): string {
  const rows = pools.flatMap(({ pool, cidr, total, used, blocks: all }) => [
    [pool ? `IPPool ${pool}` : 'no pool', cidr, '', ...numbers(BigInt(total), used)],
    ...(blocks
      ? all.map((each) => ['  Block', each.cidr, each.node, ...numbers(BigInt(each.total), each.used)])
      : []),
  ]);
  return table(['GROUPING', 'CIDR', 'NODE', 'IPS TOTAL', 'IPS IN USE', 'IPS FREE'], rows) || 'no pools';
}

function numbers(total: bigint, used: number): string[] {
  const percent = Math.round((used * 100) / Number(total));
  return [`${total}`, `${used} (${percent}%)`, `${total - BigInt(used)} (${100 - percent}%)`];
}

function stillThere(node: string): FlatnetError {
  return new FlatnetError('is a node of the cluster', {
    code: 'USAGE',
    operation: 'ipam release',
    object: node,
    fix: `if it has left for good, use flatnet forget ${node}`,
  });
}

function yesOrNo(text: string): boolean {
  if (text === 'true' || text === 'false') return text === 'true';
  throw new InvalidArgumentError('Write true or false.');
}
