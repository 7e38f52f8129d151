import type { FlowsShown } from '../../agent/policy/watch.ts';
import { pause } from '../../async/pause.ts';
import { titleNamed } from '../../cluster/node.ts';
import type { FlowEnd, LoggedFlow } from '../../policy/observe/logged.ts';
import { timeText } from '../../problem.ts';
import { type AgentSocketOptions, agentSocketOptions, askSelected } from '../shared/agent-socket.ts';
import { newCommand } from '../shared/commands.ts';
import { table } from '../shared/output.ts';

type Options = AgentSocketOptions & { readonly pod?: string; readonly follow?: boolean };

/** Milliseconds between two questions. */
const INTERVAL = 1000;

export const command = agentSocketOptions(
  newCommand(
    'Ask the node’s agent which connections policies have denied last, or rules of the action Log have logged: a line for each flow, and another every 30 s while it goes on. Needs policy: {"logDenied": true}.',
    ['flatnet policy denied', 'flatnet policy denied --follow --pod default/web'],
  ),
)
  .option('--pod <pod>', 'only those from or to this pod, NAMESPACE/NAME')
  .option('--follow', 'print further ones as they come')
  .action(async (options: Options) => {
    let first = true;
    for (let after = 0; ; ) {
      const shown = await askSelected(options, { op: 'flows', after });
      tell(ofPod(shown, options.pod), options.json, first);
      first = false;
      after = shown.last;
      if (!options.follow) return;
      await pause(INTERVAL);
    }
  });

function ofPod(shown: FlowsShown, pod: string | undefined): FlowsShown {
  if (pod === undefined) return shown;
  const name = titleNamed(pod);
  return { ...shown, flows: shown.flows.filter(({ from, to }) => from.pod === name || to.pod === name) };
}

/** With `json`, an object a line. */
function tell({ flows, missed, note }: FlowsShown, json: boolean | undefined, first: boolean): void {
  if (first && note !== undefined) process.stderr.write(`${note}\n`);
  if (missed > 0) process.stderr.write(`${missed} further flows are forgotten\n`);
  if (json) {
    for (const flow of flows) process.stdout.write(`${JSON.stringify(flow)}\n`);
    return;
  }
  const text = table(
    ['TIME', 'FROM', 'TO', 'WHAT', 'PACKETS', 'AT', 'BECAUSE'],
    flows.map((flow) => [
      timeText(new Date(flow.time)),
      endText(flow.from),
      endText(flow.to),
      whatText(flow),
      `${flow.packets}`,
      flow.direction ?? '-',
      becauseText(flow),
    ]),
  );
  const lines = first ? text : text.split('\n').slice(1).join('\n');
  if (lines !== '') process.stdout.write(`${lines}\n`);
}

function endText({ ip, pod, node }: FlowEnd): string {
  return pod ?? (node === undefined ? ip : `node ${node}`);
}

function whatText({ protocol, port, icmp }: LoggedFlow): string {
  const rest = port ?? (icmp && `type ${icmp.type}`);
  return rest === undefined ? protocol : `${protocol} ${rest}`;
}

function becauseText({ verdict, because, loggedBy }: LoggedFlow): string {
  const by = loggedBy ? `; logged by ${loggedBy.join(', ')}` : '';
  return `${verdict}: ${because}${by}`;
}
