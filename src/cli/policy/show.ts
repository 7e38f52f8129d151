import type { PoliciesShown } from '../../agent/policy/watch.ts';
import { titleNamed } from '../../cluster/node.ts';
import type { DirectionInForce, InForce } from '../../policy/observe/in-force.ts';
import { timeText } from '../../problem.ts';
import { type AgentSocketOptions, agentSocketOptions, askSelected } from '../shared/agent-socket.ts';
import { newCommand } from '../shared/commands.ts';
import { print, table } from '../shared/output.ts';

export const command = agentSocketOptions(
  newCommand(
    'Ask the node’s agent what is in force for a pod of this node: policies and rules in their order, and how many packets each has decided.',
    ['flatnet policy show default/web', 'flatnet policy show default/web --node node1'],
  ),
)
  .argument('<pod>', 'NAMESPACE/NAME, or a pod in the namespace default')
  .action(async (pod: string, options: AgentSocketOptions) => {
    const name = titleNamed(pod);
    print(await askSelected(options, { op: 'policies', pod: name }), options.json, describe);
  });

function describe({ interfaces, written, offload }: PoliciesShown): string {
  const since = written === undefined ? 'before this agent started' : timeText(new Date(written));
  const note = [
    'Counted are the packets that open connections, with those that follow before the first answer, since the',
    `tables were written (${since}), or since then a rule’s part in them.`,
  ];
  const bypass = `Established connections bypass the tables (offload): ${offload}.`;
  return [...interfaces.map(interfaceText), note.join('\n'), bypass].join('\n\n');
}

function interfaceText({ pod, addresses, directions, names }: InForce): string {
  return [
    `${pod}  ${addresses.join(' ')}`,
    ...directions.map(directionText),
    ...(names ? [namesText(names)] : []),
  ].join('\n\n');
}

function namesText(names: NonNullable<InForce['names']>): string {
  if (names.length === 0)
    return 'names: none stands for an address yet, as no resolver has been asked for it';
  return table(
    ['NAME', 'ADDRESSES'],
    names.map(({ name, addresses }) => [name, addresses.join(' ')]),
  );
}

function directionText({ direction, isolatedBy, denied, together, staged, tiers }: DirectionInForce): string {
  const head =
    isolatedBy.length === 0
      ? `${direction}: not isolated${tiers.length === 0 ? ', as no policy is about it' : ''}`
      : `${direction}: isolated by ${isolatedBy.join(', ')}: ${denied.packets} packets (${denied.bytes} bytes) denied that no rule allows`;
  const rows = tiers.flatMap(({ name, policies }) =>
    policies.flatMap(({ policy, isStaged, isUnreadable, rules }) => {
      const of = `${policy}${isStaged ? ' (staged)' : ''}${isUnreadable ? ' (unreadable: closed)' : ''}`;
      if (rules.length === 0) return [[name, of, '-', '-', '-', '-', '-', '-']];
      return rules.map(({ name: rule, action, peers, traffic, count }) => [
        name,
        of,
        rule,
        action,
        peers.join('; ') || 'nobody',
        traffic.join('; ') || 'nothing',
        `${count?.packets ?? '-'}`,
        `${count?.bytes ?? '-'}`,
      ]);
    }),
  );
  const header = ['TIER', 'POLICY', 'RULE', 'ACTION', 'OTHER END', 'TRAFFIC', 'PACKETS', 'BYTES'];
  const shared = together && [
    `besides what is counted by rule, ${together.packets} packets (${together.bytes} bytes) by rules too many to be counted apart`,
  ];
  const plans = staged.map(
    ({ policy, wouldDeny, wouldAllow }) =>
      `if staged policies were enforced, ${policy} would have denied ${wouldDeny.packets} packets that were allowed, and allowed ${wouldAllow.packets} that were denied`,
  );
  return [head, ...(rows.length > 0 ? [table(header, rows)] : []), ...(shared ?? []), ...plans].join('\n');
}
