import { currentStatus } from '../agent/older-status.ts';
import { type AgentStatus, isWell } from '../agent/status.ts';
import { podTitle } from '../cluster/node.ts';
import { problemText, timeText } from '../problem.ts';
import { type AgentSocketOptions, agentSocketOptions, askSelected } from './shared/agent-socket.ts';
import { newCommand } from './shared/commands.ts';
import { EXIT, Exit } from './shared/failure.ts';
import { print, table } from './shared/output.ts';

export const command = agentSocketOptions(
  newCommand(
    'Show the state, pods and problems of a node’s agent. Exit status 1 if it cannot do what it should.',
    ['flatnet status', 'flatnet status --node node1 --lab flatnet', 'flatnet status --json'],
  ),
).action(async (options: AgentSocketOptions) => {
  const status = currentStatus(await askSelected(options, { op: 'status' }));
  print(status, options.json, statusText);
  if (!isWell(status)) throw new Exit(EXIT.failed);
});

function storeText({ backend, store }: AgentStatus): string {
  const { connected, lastRenewal, leaseExpires } = store;
  if (lastRenewal === undefined) {
    return backend === undefined ? 'no lease yet' : 'no lease: working from the last known state';
  }
  const renewed = `renewed at ${timeText(new Date(lastRenewal))}`;
  if (leaseExpires === undefined) return connected ? `member, ${renewed}` : `not confirmed, ${renewed}`;
  const expires = new Date(leaseExpires);
  return `lease ${expires > new Date() ? 'held until' : 'ran out at'} ${timeText(expires)}, ${renewed}`;
}

function packetsText(packets: Readonly<Record<string, number>>): string {
  const counts = Object.entries(packets).map(([fate, count]) => `${count} ${fate}`);
  return counts.join(', ') || 'none yet';
}

function policiesText({ policies, refused, denied }: NonNullable<AgentStatus['policies']>): string {
  const packets = denied.ingress + denied.egress + denied.unprotected;
  return `${policies}${refused > 0 ? `, ${refused} of them unreadable` : ''}; ${packets} packets denied`;
}

function namesText({ names, addresses, observed }: NonNullable<AgentStatus['names']>): string {
  const how = { held: 'answers wait for the kernel', copied: 'answers are copied' } as const;
  return `${names} in policies, with ${addresses} addresses; ${observed ? how[observed] : 'answers are not seen'}`;
}

function peersText({ peers, paths }: AgentStatus): string {
  if (!paths || paths.tested === 0) return `${peers}`;
  const found =
    paths.broken === 0 ? 'no lasting trouble on the way' : `trouble on the way to ${paths.broken}`;
  return `${peers}, ${paths.tested} tested: ${found}`;
}

function statusText(status: AgentStatus): string {
  const { underlay } = status;
  const facts: [string, string][] = [
    ['node', status.node],
    ['agent', status.ready ? `ready (pid ${status.pid})` : `not ready: ${status.notReady}`],
    ['subnets', status.subnets.join(' ') || 'none'],
    ['backend', status.backend ?? 'unknown'],
    [
      'underlay',
      underlay
        ? `${underlay.dev} ${Object.values(underlay.addresses).join(' ')} mtu ${underlay.mtu}${
            underlay.pathMtu === undefined ? '' : `, to peers ${underlay.pathMtu}`
          }`
        : 'none',
    ],
    ['pod mtu', status.backend === undefined ? 'unknown' : `${status.mtu}`],
    ['peers', peersText(status)],
    ...(status.packets ? [['packets', packetsText(status.packets)] as [string, string]] : []),
    ...(status.policies ? [['policies', policiesText(status.policies)] as [string, string]] : []),
    ...(status.policyOrigins?.length
      ? [['read from', status.policyOrigins.join(', ')] as [string, string]]
      : []),
    ...(status.carrier ? [['carried by', status.carrier] as [string, string]] : []),
    ...(status.names ? [['names', namesText(status.names)] as [string, string]] : []),
    ['store', storeText(status)],
  ];
  const width = Math.max(...facts.map(([name]) => name.length));
  const pods = table(
    ['POD', 'ADDRESSES', 'HOST DEVICE'],
    status.pods.map((pod) => [podTitle(pod), pod.addresses.join(' '), pod.hostDevice ?? '-']),
  );
  const trouble = status.problems.map((problem) => `! ${problemText(problem)}`);
  return [
    facts.map(([name, text]) => `${name.padEnd(width)}  ${text}`).join('\n'),
    pods || 'no pods',
    ...(trouble.length ? [trouble.join('\n')] : []),
  ].join('\n\n');
}
