import { styleText } from 'node:util';

/** One figure; without a value, why there is none. The budget is for the ratio, if any, else to the value. */
export type Row = {
  readonly what: string;
  readonly unit: string;
  readonly value?: number;
  /** The value it is compared with, in the same unit. */
  readonly reference?: number;
  /** `value / reference`. */
  readonly ratio?: number;
  readonly budget?: Budget;
};
export type Budget = { readonly atMost: number } | { readonly atLeast: number };

export function row(
  what: string,
  unit: string,
  value: number,
  more: Pick<Row, 'reference' | 'budget'> = {},
): Row {
  const { reference } = more;
  return { what, unit, value, ...more, ...(reference !== undefined && { ratio: value / reference }) };
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}

/** Prints the figures as a table, or with `--json` on the command line as JSON. */
export function report(title: string, rows: readonly Row[]): void {
  if (process.argv.includes('--json')) {
    console.log(JSON.stringify(rows.map((each) => ({ ...each, ok: withinBudget(each) }))));
    return;
  }
  const lines = [
    [title, '', 'measured', 'baseline', 'ratio', 'budget', ''],
    ...rows.map((each) => [
      each.what,
      each.unit,
      digits(each.value),
      digits(each.reference),
      each.ratio?.toFixed(2) ?? '',
      budgetText(each.budget),
      verdict(each),
    ]),
  ];
  print(lines, [0, 1, 6]);
}

/** Prints a table: columns listed in `text` are aligned left, the others right. */
export function print(lines: readonly (readonly string[])[], text: readonly number[]): void {
  const widths = lines[0]?.map((_, i) => Math.max(...lines.map((line) => line[i]?.length ?? 0))) ?? [];
  for (const line of lines) {
    const cells = line.map((cell, i) =>
      text.includes(i) ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0),
    );
    console.log(
      cells
        .join('  ')
        .trimEnd()
        .replace(/missed$/, styleText('red', 'missed')),
    );
  }
}

/** Undefined where no budget is set. */
function withinBudget({ value, ratio, budget }: Row): boolean | undefined {
  const figure = ratio ?? value;
  if (!budget || figure === undefined) return undefined;
  return 'atMost' in budget ? figure <= budget.atMost : figure >= budget.atLeast;
}

function verdict(each: Row): string {
  const ok = withinBudget(each);
  return ok === undefined ? '' : ok ? 'ok' : 'missed';
}

function budgetText(budget: Budget | undefined): string {
  if (!budget) return '';
  return 'atMost' in budget ? `≤ ${budget.atMost}` : `≥ ${budget.atLeast}`;
}

/** With commas between thousands. */
export const number = (value: number): string => value.toLocaleString('en');

export function digits(value: number | undefined): string {
  return value === undefined ? '' : value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0);
}
