import type { Command } from 'commander';
import type { ApplyReport, Outcome } from '../../lab/pods/apply.ts';
import { type Manifest, readManifests } from '../../lab/pods/manifest/read.ts';
import { fullName, type PodStatus } from '../../lab/pods/record.ts';
import { DEFAULT_LAB } from '../../lab/record/lab.ts';
import { labOption } from '../shared/commands.ts';
import { type Cell, paint, render, table } from '../shared/output.ts';
import { readText } from '../shared/read-text.ts';

/** The options of every lab command. */
export type LabOptions = { readonly lab: string; readonly json?: boolean };

export function labOptions(command: Command): Command {
  return command
    .addOption(labOption('name of the lab; several can run side by side').default(DEFAULT_LAB))
    .option('--json', 'print JSON');
}

/** Reads `-f FILE` (`-` is standard input); warns on standard error about fields the lab ignores. */
export function manifestsOf(files: readonly string[]): Manifest[] {
  const warnings: string[] = [];
  const manifests = files.flatMap((file) =>
    readManifests(readText(file, 'MANIFEST_INVALID'), file === '-' ? 'standard input' : file, (text) =>
      warnings.push(text),
    ),
  );
  for (const text of warnings) process.stderr.write(`warning: ${text}\n`);
  return manifests;
}

const STYLE = {
  created: 'green',
  configured: 'yellow',
  unchanged: 'dim',
  deleted: 'yellow',
  absent: 'dim',
} as const satisfies Record<Outcome, string>;

/** Describes what was done to each object and its pods, and what runs in place of the images. */
export function describeReport({ objects, created, deleted }: ApplyReport): string {
  const notes = new Set(
    created.flatMap((pod) => pod.containers.map(({ name, note }) => `  ${name}: ${note}`)),
  );
  return [
    ...objects.map(({ object, outcome }) => `${object} ${render(paint(STYLE[outcome], outcome))}`),
    ...deleted.map((pod) => `  - pod ${fullName(pod)}`),
    ...created.map((pod) => `  + pod ${fullName(pod)} on ${pod.node}: ${pod.addresses.join(' ')}`),
    ...notes,
  ].join('\n');
}

export function podTable(pods: readonly PodStatus[]): string {
  const rows = pods.map((pod): Cell[] => [
    pod.namespace,
    pod.name,
    paint(pod.phase === 'Running' ? 'green' : 'red', pod.phase),
    pod.node,
    pod.addresses.join(' '),
    pod.containers.map(containerText).join(' '),
  ]);
  return table(['NAMESPACE', 'POD', 'STATUS', 'NODE', 'ADDRESSES', 'CONTAINERS'], rows);
}

function containerText(container: PodStatus['containers'][number]): string {
  return container.state === 'exited'
    ? `${container.name}(exited ${container.exitCode})`
    : `${container.name}(${container.state})`;
}
