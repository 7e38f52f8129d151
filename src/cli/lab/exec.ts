import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:os';
import { FlatnetError, messageOf } from '../../error.ts';
import { type ContainerRecord, findPod, fullName, type PodRecord, sandboxOf } from '../../lab/pods/record.ts';
import { Lab } from '../../lab/record/lab.ts';
import { splitPodName } from '../../lab/record/names.ts';
import { inSandbox } from '../../runtime/sandbox.ts';
import { newCommand } from '../shared/commands.ts';
import { Exit } from '../shared/failure.ts';
import { type LabOptions, labOptions } from './shared.ts';

type Options = LabOptions & { readonly namespace: string; readonly container?: string };

export const command = labOptions(
  newCommand('Run a command in a pod, with this command’s input, output and exit status.', [
    'flatnet lab exec web -- ip address',
    'flatnet lab exec web -c busybox -- sh',
    'echo hello | flatnet lab exec team-a/web -- cat',
  ]),
)
  .argument('<pod>', 'a name, or NAMESPACE/POD')
  .argument('<command...>', 'after --')
  .option('-c, --container <name>', 'whose environment to use (default: the first container)')
  .option('-n, --namespace <namespace>', 'namespace of the pod', 'default')
  .action(async (text: string, words: readonly string[], options: Options) => {
    const lab = Lab.open(options.lab);
    const { namespace, name } = splitPodName(text, options.namespace);
    const pod = findPod(lab, namespace, name);
    const container = containerOf(pod, options.container);
    const [file, args] = inSandbox(sandboxOf(pod), atTerminal() ? onOwnTerminal(words) : words);
    const { TERM } = process.env;
    const env = container ? { ...container.env, ...(TERM === undefined ? {} : { TERM }) } : process.env;
    const child = spawn(file, args, { stdio: 'inherit', env });
    // The terminal sends these to the whole foreground group; the command decides how to handle them.
    for (const signal of ['SIGINT', 'SIGQUIT'] as const) process.on(signal, () => {});
    try {
      const [status, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
      throw new Exit(status ?? 128 + (signal ? constants.signals[signal] : 0));
    } catch (error) {
      if (error instanceof Exit) throw error;
      throw new FlatnetError(messageOf(error), {
        code: 'NOT_FOUND',
        operation: 'exec',
        object: file,
        fix: 'install util-linux',
        cause: error,
      });
    }
  });

function atTerminal(): boolean {
  return process.stdin.isTTY === true && process.stdout.isTTY === true;
}

/**
 * script(1) allocates a pseudo-terminal inside the pod, as a container runtime does: the foreground process
 * group of our own terminal has no ID in the pod's pid namespace, which shells with job control treat as an
 * error.
 */
function onOwnTerminal(words: readonly string[]): string[] {
  const quoted = words.map((word) => `'${word.replaceAll("'", "'\\''")}'`);
  return ['env', 'SHELL=/bin/sh', 'script', '-qec', `exec ${quoted.join(' ')}`, '/dev/null'];
}

function containerOf(pod: PodRecord, name: string | undefined): ContainerRecord | undefined {
  if (name === undefined) return pod.containers[0];
  const container = pod.containers.find((each) => each.name === name);
  if (container) return container;
  const names = pod.containers.map((each) => each.name);
  throw new FlatnetError(`pod ${fullName(pod)} has no container '${name}'`, {
    code: 'NOT_FOUND',
    fix: names.length ? `it has ${names.join(', ')}` : 'it has none: drop -c',
  });
}
