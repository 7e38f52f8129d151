import type { Command } from 'commander';
import { DEFAULT_LAB } from '../../lab/record/lab.ts';

/** What every command of a lab takes. */
export type LabOptions = { readonly name: string; readonly json?: boolean };

export function labOptions(command: Command): Command {
  return command
    .option('--name <lab>', 'which lab; several may stand side by side', DEFAULT_LAB)
    .option('--json', 'print JSON');
}
