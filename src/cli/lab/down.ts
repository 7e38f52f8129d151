import { type DownReport, down } from '../../lab/down.ts';
import { labNames } from '../../lab/record/lab.ts';
import { newCommand } from '../shared/commands.ts';
import { print } from '../shared/output.ts';
import { type LabOptions, labOptions } from './shared.ts';

export const command = labOptions(
  newCommand(
    'Remove a lab: processes, namespaces, files. Also cleans up broken labs; succeeds if there is nothing to remove.',
    ['flatnet lab down', 'flatnet lab down --lab second', 'flatnet lab down --all'],
  ),
)
  .option('--all', 'every lab on this machine')
  .action(async ({ lab: name, all, json }: LabOptions & { readonly all?: boolean }) => {
    const reports: ({ lab: string } & DownReport)[] = [];
    for (const lab of all ? labNames() : [name]) reports.push({ lab, ...(await down(lab)) });
    print(reports, json, () => reports.map(describe).join('\n') || 'no lab is up');
  });

function describe({ lab, existed, namespaces, processes }: { lab: string } & DownReport): string {
  if (!existed) return `there is no lab '${lab}': nothing to do`;
  return `lab '${lab}' removed: ${count(processes, 'process', 'es')}, ${count(namespaces, 'network namespace', 's')}`;
}

function count(n: number, noun: string, plural: string): string {
  return `${n} ${noun}${n === 1 ? '' : plural}`;
}
