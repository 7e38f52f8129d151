import type { ApplyReport, Outcome } from '../../lab/pods/apply.ts';
import { type Manifest, readManifests } from '../../lab/pods/manifest/read.ts';
import { fullName } from '../../lab/pods/record.ts';
import { paint, render } from '../output.ts';
import { readText } from '../read-text.ts';

/** Reads `-f FILE`, `-` being standard input; says on standard error what a lab leaves aside. */
export function manifestsOf(file: string): Manifest[] {
  const warnings: string[] = [];
  const manifests = readManifests(
    readText(file, 'MANIFEST_INVALID'),
    file === '-' ? 'standard input' : file,
    (text) => warnings.push(text),
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

/** What was done to each object and its pods, and what runs in place of the images. */
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
