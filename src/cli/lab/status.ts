import { familyOf } from '../../ip/address.ts';
import type { AgentStatus } from '../../lab/agent-process.ts';
import { Lab } from '../../lab/lab.ts';
import type { LeaseStatus } from '../../lab/leases.ts';
import { type LabStatus, labStatus, type NodeStatus } from '../../lab/status.ts';
import { newCommand } from '../commands.ts';
import { EXIT, Exit } from '../failure.ts';
import { type Cell, paint, print, render, table } from '../output.ts';
import { type LabOptions, labOptions } from './options.ts';
import { podTable } from './tables.ts';

export const command = labOptions(
  newCommand('Nodes, leases, pods, and what is wrong. Ends with 1 when something is.', [
    'flatnet lab status',
    'flatnet lab status --json',
  ]),
).action(async ({ name, json }: LabOptions) => {
  const status = await labStatus(Lab.open(name));
  print(status, json, describe);
  if (status.problems.length) throw new Exit(EXIT.failed);
});

function describe({ nodes, leases, pods, problems }: LabStatus): string {
  const parts = [
    table(['NODE', 'AGENT', 'SUBNET', 'UNDERLAY', 'MTU', 'PEERS', 'PODS', 'NETNS'], nodes.map(nodeRow)),
    table(['LEASE', 'NODE', 'PUBLIC IP', 'BACKEND', 'EXPIRES IN'], leases.map(leaseRow)),
    podTable(pods) || 'no pods',
    problems.length
      ? problems.map((problem) => render(paint('red', `! ${problem}`))).join('\n')
      : render(paint('green', 'all is well')),
  ];
  return parts.filter(Boolean).join('\n\n');
}

function nodeRow({ name, agent, status, pods, netns }: NodeStatus): Cell[] {
  return [
    name,
    paint(agent === 'ready' ? 'green' : 'red', agent),
    status?.subnets.join(' ') ?? '-',
    status ? underlay(status) : '-',
    status ? `${status.mtu}` : '-',
    status ? `${status.peers}` : '-',
    `${pods}`,
    netns,
  ];
}

/** The addresses that peers use: of the families pods have. A table of 80 columns has no room for others. */
function underlay({ underlay, subnets }: AgentStatus): string {
  const families = new Set(subnets.map(familyOf));
  return (
    Object.values(underlay?.addresses ?? {})
      .filter((address) => families.has(familyOf(address)))
      .join(' ') || '-'
  );
}

function leaseRow({ node, subnets, publicIp, backend, expires }: LeaseStatus): Cell[] {
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
