import type { AgentStatus } from '../../agent/status.ts';
import { type Family, familyOf } from '../../ip/address.ts';
import type { BlockUsage } from '../../ipam/blocks/usage.ts';
import { type LabStatus, labStatus, type NodeStatus } from '../../lab/inspect/status.ts';
import { Lab } from '../../lab/record/lab.ts';
import type { Member } from '../../store/ports/membership.ts';
import { newCommand } from '../shared/commands.ts';
import { EXIT, Exit } from '../shared/failure.ts';
import { type Cell, paint, print, render, table } from '../shared/output.ts';
import { type LabOptions, labOptions, podTable } from './shared.ts';

export const command = labOptions(
  newCommand('Show nodes, leases, pods and problems. Exit status 1 if there are problems.', [
    'flatnet lab status',
    'flatnet lab status --json',
  ]),
).action(async ({ lab: name, json }: LabOptions) => {
  const status = await labStatus(Lab.open(name));
  print(status, json, describe);
  if (status.problems.length) throw new Exit(EXIT.failed);
});

function describe(status: LabStatus): string {
  const { leases, blocks, pods, problems } = status;
  const parts = [
    nodeTable(status),
    table(['LEASE', 'NODE', 'PUBLIC IP', 'BACKEND', 'EXPIRES IN'], leases.map(leaseRow)),
    table(['BLOCK', 'NODE', 'IN USE'], blocks.map(blockRow)),
    podTable(pods) || 'no pods',
    problems.length
      ? problems.map((problem) => render(paint('red', `! ${problem}`))).join('\n')
      : render(paint('green', 'no problems found')),
  ];
  return parts.filter(Boolean).join('\n\n');
}

type Column = readonly [heading: string, cell: (node: NodeStatus) => Cell];

/** Blocks have their own table below; sessions, as of BGP, add a column. */
function nodeTable({ nodes, addresses, families, sessions }: LabStatus): string {
  const columns: Column[] = [
    ['NODE', ({ name }) => name],
    ['AGENT', ({ agent }) => paint(agent === 'ready' ? 'green' : 'red', agent)],
    [addresses === 'blocks' ? 'BLOCKS' : 'SUBNET', ({ status }) => status?.subnets.join(' ') || '-'],
    ['UNDERLAY', ({ status }) => (status ? underlay(status, families) : '-')],
    ['MTU', ({ status }) => (status ? `${status.mtu}` : '-')],
    ['PEERS', ({ status }) => (status ? `${status.peers}` : '-')],
    ...(sessions === undefined ? [] : [[sessions, established] as const]),
    ['PODS', ({ pods }) => `${pods}`],
    ['NETNS', ({ netns }) => netns],
  ];
  return table(
    columns.map(([heading]) => heading),
    nodes.map((node) => columns.map(([, cell]) => cell(node))),
  );
}

/** Established sessions out of those expected. */
function established({ sessions }: NodeStatus): Cell {
  if (!sessions) return '-';
  const { established, expected } = sessions;
  return paint(established === expected ? 'green' : 'red', `${established}/${expected}`);
}

/** The addresses that peers use, only of the pods' families so that the table fits 80 columns. */
function underlay({ underlay }: AgentStatus, families: readonly Family[]): string {
  const addresses = Object.values(underlay?.addresses ?? {});
  return addresses.filter((address) => families.includes(familyOf(address))).join(' ') || '-';
}

function blockRow({ cidr, node, used, total }: BlockUsage): Cell[] {
  return [cidr, node, `${used} of ${total}`];
}

function leaseRow({ node, subnets, publicIp, backend, expires }: Member): Cell[] {
  return [
    subnets.join(' '),
    node,
    publicIp ?? '-',
    backend ?? '-',
    expires === undefined ? 'never' : span(expires),
  ];
}

/** The two largest units: `23h 59m`. */
function span(seconds: number): string {
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, Math.floor(seconds % 60)];
  return h ? `${h}h ${m}m` : m ? `${m}m ${s}s` : `${s}s`;
}
