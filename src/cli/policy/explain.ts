import { familyOf } from '../../ip/address.ts';
import { type EndExplanation, type Explanation, explain } from '../../policy/explain/explain.ts';
import { collect, integer, newCommand } from '../shared/commands.ts';
import { EXIT, Exit } from '../shared/failure.ts';
import { paint, print, render } from '../shared/output.ts';
import { clusterOf, endOf, flowOf, pairOf, readFiles } from '../shared/policy-files.ts';

type Flags = {
  readonly file: readonly string[];
  readonly port?: number;
  readonly protocol: string;
  readonly json?: boolean;
};

export const command = newCommand(
  'Say whether a connection is allowed, at which end and by which rule, or what would allow it. Ends are pods (NAMESPACE/POD), addresses or domain names. Exit status 1 if it is denied.',
  [
    'flatnet policy explain default/client default/web --port 80 -f cluster.yaml',
    'flatnet policy explain default/client www.example.org --port 443 -f cluster.yaml',
    'kubectl get pods,namespaces,networkpolicies -A -o yaml | flatnet policy explain client web --port 80 -f -',
  ],
)
  .argument('<from>', 'who connects')
  .argument('<to>', 'to whom')
  .requiredOption(
    '-f, --file <file>',
    'pods, namespaces and policies; again for more, - for standard input',
    collect(String),
  )
  .option('--port <port>', 'the port at the destination', integer(0, 65535))
  .option('--protocol <protocol>', 'tcp, udp, sctp, icmp, or a number', 'tcp')
  .option('--json', 'print JSON')
  .action((from: string, to: string, { file, port, protocol, json }: Flags) => {
    const cluster = clusterOf(readFiles(file));
    const [source, destination] = pairOf(endOf(from, cluster.entities), endOf(to, cluster.entities));
    const flow = flowOf(familyOf(source.ip), protocol, port);
    const explanation = explain(cluster, source, destination, flow);
    print(explanation, json, describe);
    if (explanation.verdict === 'denied') throw new Exit(EXIT.failed);
  });

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
