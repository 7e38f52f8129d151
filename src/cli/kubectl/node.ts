import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { FlatnetError, ioError } from '../../error.ts';
import { newCommand } from '../shared/commands.ts';
import { Exit } from '../shared/failure.ts';
import { podOn } from './overview.ts';
import { agentPods, type ClusterOptions, clusterOptions, withCluster } from './shared.ts';

export const command = clusterOptions(
  newCommand(
    'Run flatnet in the pod of a node’s agent, by `kubectl exec`, so with the rights that needs. Exit status as that command’s.',
    [
      'kubectl flatnet node worker1',
      'kubectl flatnet node worker1 -- diff',
      'kubectl flatnet node worker1 -- bgp status --json',
    ],
  ),
)
  .argument('<node>')
  .argument('[command...]', 'status by default')
  .action(async (node: string, words: readonly string[], options: ClusterOptions) => {
    const pod = await withCluster(options, async (client) => podOn(node, await agentPods(client, options)));
    if (!pod) {
      throw new FlatnetError('has no pod with an agent', {
        code: 'NOT_FOUND',
        object: `node ${node}`,
        fix: `agents that run as services answer on their nodes alone: flatnet ${words.join(' ') || 'status'}`,
      });
    }
    const { kubeconfig, context, namespace } = options;
    const cluster = [
      ...(kubeconfig === undefined ? [] : ['--kubeconfig', kubeconfig]),
      ...(context === undefined ? [] : ['--context', context]),
    ];
    const command = ['flatnet', ...(words.length > 0 ? words : ['status'])];
    const argv = [...cluster, 'exec', '-n', namespace, pod.metadata.name, '-c', 'agent', '--', ...command];
    const status = await run('kubectl', argv);
    if (status !== 0) throw new Exit(status);
  });

async function run(program: string, argv: readonly string[]): Promise<number> {
  const child = spawn(program, argv, { stdio: 'inherit' });
  try {
    const [status] = (await once(child, 'exit')) as [number | null];
    return status ?? 1;
  } catch (error) {
    throw ioError('run', program, error);
  }
}
