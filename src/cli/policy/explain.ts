import { FlatnetError } from '../../error.ts';
import type { EndExplanation, Explanation } from '../../policy/explain/explain.ts';
import { answer, type Question } from '../../policy/explain/question.ts';
import { type AgentSocketOptions, agentSocketOptions, askSelected } from '../shared/agent-socket.ts';
import { collect, integer, newCommand } from '../shared/commands.ts';
import { EXIT, Exit } from '../shared/failure.ts';
import { paint, print, render } from '../shared/output.ts';
import { clusterOf, readFiles } from '../shared/policy-files.ts';

type Flags = AgentSocketOptions & {
  readonly file?: readonly string[];
  readonly port?: number;
  readonly protocol: string;
};

export const command = agentSocketOptions(
  newCommand(
    'Say whether a connection is allowed, at which end and by which rule, or what would allow it: by what the node’s agent knows of the cluster or, with -f, by files alone. Ends are pods (NAMESPACE/POD), addresses or domain names. Exit status 1 if it is denied.',
    [
      'flatnet policy explain default/client default/web --port 80',
      'flatnet policy explain default/client www.example.org --port 443 --lab demo --node node1',
      'kubectl get pods,namespaces,networkpolicies -A -o yaml | flatnet policy explain client web --port 80 -f -',
    ],
  ),
)
  .argument('<from>', 'who connects')
  .argument('<to>', 'to whom')
  .option(
    '-f, --file <file>',
    'ask no agent: pods, namespaces and policies; again for more, - for standard input',
    collect(String),
  )
  .option('--port <port>', 'the port at the destination', integer(0, 65535))
  .option('--protocol <protocol>', 'tcp, udp, sctp, icmp, or a number', 'tcp')
  .action(async (from: string, to: string, { file, port, protocol, ...agent }: Flags) => {
    const question = { from, to, protocol, ...(port !== undefined && { port }) };
    const explanation = await (file ? byFiles(file, agent, question) : byAgent(agent, question));
    print(explanation, agent.json, describe);
    if (explanation.verdict === 'denied') throw new Exit(EXIT.failed);
  });

function byAgent(agent: AgentSocketOptions, question: Question): Promise<Explanation> {
  return askSelected(agent, { op: 'explain', ...question });
}

function byFiles(
  files: readonly string[],
  { socket, node, lab }: AgentSocketOptions,
  question: Question,
): Explanation {
  if (socket ?? node ?? lab) {
    const fix = 'use files, or a node’s agent';
    throw new FlatnetError('conflicts with --file', {
      code: 'USAGE',
      object: '--socket, --node, --lab',
      fix,
    });
  }
  return answer(clusterOf(readFiles(files)), question);
}

function describe({ verdict, ends, exempt }: Explanation): string {
  const head = paint(verdict === 'allowed' ? 'green' : 'red', verdict);
  const lines = ends.flatMap(linesOf);
  const none = ends.length === 0 ? [`  ${exempt ?? 'neither end is a pod'}`] : [];
  return [render(head), ...lines, ...none].join('\n');
}

function linesOf(end: EndExplanation): string[] {
  const { direction, pod, verdict, because, rule, passed, fix, staged } = end;
  const at = `${direction.padEnd(7)}  ${pod}`;
  return [
    `  ${at}: ${verdict}: ${because}`,
    ...passed.map((text) => `    passed: ${text}`),
    ...(rule?.holds ?? []).map((text) => `    ${text}`),
    ...(fix === undefined ? [] : [`    fix: ${fix}`]),
    ...(staged ? [`    if staged policies were enforced: ${staged.verdict}: ${staged.because}`] : []),
  ];
}
