import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { FlatnetError, messageOf } from '../../error.ts';
import { addressOf } from '../../ip/cidr.ts';
import { startContainer } from '../../runtime/container.ts';
import { answerer, type Substitute, substitute } from '../../runtime/image.ts';
import { nodeAddresses } from '../machine/underlay-plan.ts';
import { type Lab, labEnvironment } from '../record/lab.ts';
import { type ContainerRecord, containerFile, type PodRecord, sandboxOf } from './record.ts';
import type { ContainerSpec, EnvVar, PodField } from './spec.ts';

/** Starts the containers of a wired pod in order; returns each container's image and what runs instead. */
export async function startContainers(
  lab: Lab,
  pod: PodRecord,
  specs: readonly ContainerSpec[],
): Promise<ContainerRecord[]> {
  const records: ContainerRecord[] = [];
  for (const spec of specs) records.push(await start(lab, pod, spec));
  return records;
}

async function start(lab: Lab, pod: PodRecord, spec: ContainerSpec): Promise<ContainerRecord> {
  const runs = substitute(spec);
  const env = environment(lab, pod, spec, runs.runs === 'command' && runs.applets);
  const argv = argvOf(runs, env, containerFile(lab, pod, spec.name, 'www'));
  const record = { name: spec.name, image: spec.image, note: runs.note, argv, env };
  if (argv.length === 0) return record;
  await startContainer(sandboxOf(pod), {
    name: spec.name,
    argv,
    env,
    cwd: spec.workingDir ?? '/',
    logFile: containerFile(lab, pod, spec.name, 'log'),
    exitFile: containerFile(lab, pod, spec.name, 'exit'),
  });
  return record;
}

function argvOf(runs: Substitute, env: Readonly<Record<string, string>>, dir: string): string[] {
  switch (runs.runs) {
    case 'answerer':
      return answerer(dir, runs.ports);
    case 'command':
      return runs.argv.map((word) => expand(word, env));
    case 'nothing':
      return [];
  }
}

const SYSTEM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** Returns a container's environment; it inherits nothing from the command that created it. */
function environment(
  lab: Lab,
  pod: PodRecord,
  spec: ContainerSpec,
  busybox: boolean,
): Record<string, string> {
  const env: Record<string, string> = {
    PATH: busybox ? `${applets(lab)}:${SYSTEM_PATH}` : SYSTEM_PATH,
    HOME: '/root',
    HOSTNAME: pod.name,
    POD_NAME: pod.name,
    POD_NAMESPACE: pod.namespace,
    NODE_NAME: pod.node,
    CONTAINER_NAME: spec.name,
    ...labEnvironment(lab.name),
  };
  for (const variable of spec.env) env[variable.name] = valueFor(lab, pod, variable, env);
  return env;
}

function valueFor(lab: Lab, pod: PodRecord, variable: EnvVar, env: Readonly<Record<string, string>>): string {
  if ('value' in variable) return expand(variable.value, env);
  const node = lab.node(pod.node);
  const fields: Record<PodField, () => string> = {
    'metadata.name': () => pod.name,
    'metadata.namespace': () => pod.namespace,
    'spec.nodeName': () => pod.node,
    'status.podIP': () => pod.addresses[0] ?? '',
    'status.podIPs': () => pod.addresses.join(','),
    'status.hostIP': () => addressOf(nodeAddresses(node.index, node.subnet)[4]),
  };
  return fields[variable.field]();
}

/** Returns a folder with busybox linked under the name of each of its applets, as in its image. */
function applets(lab: Lab): string {
  const dir = lab.paths.applets;
  if (existsSync(dir)) return dir;
  mkdirSync(dir, { mode: 0o755 });
  try {
    execFileSync('busybox', ['--install', '-s', dir], { stdio: 'pipe' });
    return dir;
  } catch (cause) {
    throw new FlatnetError(messageOf(cause), {
      code: 'NOT_FOUND',
      operation: 'run',
      object: 'busybox',
      fix: 'install it: apt-get install busybox-static',
      cause,
    });
  }
}

/**
 * Replaces `$(NAME)` as Kubernetes does in command, args and env: an unknown name stays as written, and
 * `$$(NAME)` stands for the text `$(NAME)`.
 */
export function expand(text: string, env: Readonly<Record<string, string>>): string {
  return text.replace(/\$(\$|\(([^)]*)\))/g, (match, rest: string, name: string | undefined) => {
    if (rest === '$') return '$';
    return name !== undefined && Object.hasOwn(env, name) ? (env[name] ?? match) : match;
  });
}
