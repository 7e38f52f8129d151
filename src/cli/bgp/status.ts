import { isEstablished } from '../../companions/bird/status/sessions.ts';
import type { BgpStatus } from '../../companions/bird/status/status.ts';
import { FAMILIES } from '../../ip/address.ts';
import { type AgentSocketOptions, agentSocketOptions, askSelected } from '../shared/agent-socket.ts';
import { newCommand } from '../shared/commands.ts';
import { EXIT, Exit } from '../shared/failure.ts';
import { boxTable, print } from '../shared/output.ts';

export const command = agentSocketOptions(
  newCommand(
    'Show a node’s BGP sessions. Exit status 1 if one is not established or cannot be set up, or if there is none to other nodes.',
    ['flatnet bgp status', 'flatnet bgp status --node node1 --lab flatnet', 'flatnet bgp status --json'],
  ),
).action(async (options: AgentSocketOptions) => {
  const status = await askSelected(options, { op: 'bgp-status' });
  print(status, options.json, statusText);
  if (status.warnings.length > 0 || !status.sessions.every(isEstablished)) throw new Exit(EXIT.failed);
});

/** Like `calicoctl node status`. */
export function statusText({ daemon, sessions, warnings }: BgpStatus): string {
  const recovering = daemon.recovering ? ', waiting for its peers after a restart' : '';
  return [
    `BIRD ${daemon.version} running since ${daemon.since}, router id ${daemon.routerId}${recovering}`,
    ...FAMILIES.map((family) => {
      const rows = sessions
        .filter((session) => session.family === family)
        .map(({ address, reason, state, since, info }) => [address, reason, state, since, info]);
      const heading = ['PEER ADDRESS', 'PEER TYPE', 'STATE', 'SINCE', 'INFO'];
      return `IPv${family} BGP status\n${boxTable(heading, rows) || `No IPv${family} peers found.`}`;
    }),
    ...(warnings.length ? [warnings.map((text) => `! ${text}`).join('\n')] : []),
  ].join('\n\n');
}
