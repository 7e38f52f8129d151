import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { FlatnetError } from '../../error.ts';
import { unknown } from '../../lab/inspect/endpoint.ts';
import { containerFile, fullName, readPod } from '../../lab/pods/record.ts';
import { Lab } from '../../lab/record/lab.ts';
import { splitPodName } from '../../lab/record/names.ts';
import { integer, newCommand } from '../shared/commands.ts';
import { Exit } from '../shared/failure.ts';
import { type LabOptions, labOptions } from './shared.ts';

type Options = LabOptions & {
  readonly namespace: string;
  readonly container?: string;
  readonly follow?: boolean;
  readonly tail?: number;
};

export const command = labOptions(
  newCommand('Show the log of a node’s agent, a container or the store, unchanged.', [
    'flatnet lab logs node1 -f',
    'flatnet lab logs web -c nginx --tail 20',
    'flatnet lab logs store',
  ]),
)
  .argument('<node|pod|store>', 'write NAMESPACE/POD if a pod has the name of a node')
  .option('-n, --namespace <namespace>', 'namespace of the pod', 'default')
  .option('-c, --container <name>', 'default: the first')
  .option('-f, --follow', 'keep printing new lines')
  .option('--tail <lines>', 'only the last lines', integer(0, 1_000_000))
  .action(async (text: string, options: Options) => {
    const file = logFile(Lab.open(options.lab), text, options);
    if (!existsSync(file)) return;
    const lines = options.tail === undefined ? '+1' : `${options.tail}`;
    const child = spawn('tail', ['-n', lines, ...(options.follow ? ['-F'] : []), '--', file], {
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    process.on('SIGINT', () => {});
    const [status] = await once(child, 'exit');
    throw new Exit(status ?? 0);
  });

function logFile(lab: Lab, text: string, options: Options): string {
  if (options.namespace === 'default') {
    if (text === 'store') return lab.paths.storeLog;
    if (lab.nodes.some((node) => node.name === text)) return lab.paths.node(text).agentLog;
  }
  const { namespace, name } = splitPodName(text, options.namespace);
  const pod = readPod(lab, namespace, name);
  if (!pod) throw unknown(lab, `'${text}' is not a pod, a node or 'store'`);
  const names = pod.containers.map((each) => each.name);
  const container = options.container ?? names[0];
  if (container !== undefined && names.includes(container)) return containerFile(lab, pod, container, 'log');
  throw new FlatnetError(
    container === undefined ? 'the pod has no containers' : `the pod has no container '${container}'`,
    {
      code: 'NOT_FOUND',
      object: fullName(pod),
      fix: names.length ? `it has ${names.join(', ')}` : 'a pod without containers writes nothing',
    },
  );
}
