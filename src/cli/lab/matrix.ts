import { InvalidArgumentError } from 'commander';
import { FlatnetError } from '../../error.ts';
import { FAMILIES } from '../../ip/address.ts';
import { nodeEndpoint, podEndpoint } from '../../lab/inspect/endpoint.ts';
import { isGood, matrix, type Pair } from '../../lab/inspect/matrix.ts';
import { readPods } from '../../lab/pods/record.ts';
import { Lab, labFlag } from '../../lab/record/lab.ts';
import { newCommand } from '../shared/commands.ts';
import { stopSignal } from '../shared/daemon.ts';
import { EXIT, Exit } from '../shared/failure.ts';
import { type Cell, paint, print, render, table } from '../shared/output.ts';
import { type LabOptions, labOptions } from './shared.ts';

type Options = LabOptions & { readonly timeout: number; readonly full?: boolean };

/** Most columns of a table that is still readable. */
const MAX_COLUMNS = 12;
const MAX_FAILURES = 20;

export const command = labOptions(
  newCommand(
    'Test connectivity: every pod and every node pings every pod. Cells show round trips in ms; NAT means that the target saw a source address other than the sender’s own. Exit status 1 if a pair fails.',
    ['flatnet lab matrix', 'flatnet lab matrix --json'],
  ),
)
  .option('--timeout <ms>', 'how long to wait for a round’s replies', milliseconds, 1000)
  .option('--full', `print the table even for more than ${MAX_COLUMNS} pods`)
  .action(async ({ lab: name, json, timeout, full }: Options) => {
    const lab = Lab.open(name);
    const pods = readPods(lab)
      .filter((pod) => pod.addresses.length > 0)
      .map((pod) => podEndpoint(lab, pod));
    if (pods.length === 0) {
      throw new FlatnetError('there are no pods to ping', {
        code: 'NOT_FOUND',
        object: `lab ${name}`,
        fix: `create one: flatnet lab pod create web${labFlag(name)}`,
      });
    }
    const senders = [...pods, ...lab.nodes.map((node) => nodeEndpoint(lab, node))];
    const pairs = await matrix(senders, pods, { timeout, signal: stopSignal() });
    const targets = pods.map((pod) => pod.name);
    print(pairs, json, () => {
      const names = senders.map((sender) => sender.name);
      return [...tables(pairs, names, targets, full === true), summary(pairs), ...failures(pairs)].join('\n');
    });
    if (!pairs.every(isGood)) throw new Exit(EXIT.failed);
  });

function tables(
  pairs: readonly Pair[],
  senders: readonly string[],
  targets: readonly string[],
  full: boolean,
): string[] {
  if (targets.length > MAX_COLUMNS && !full) return [];
  const cells = new Map(pairs.map((pair) => [`${pair.family} ${pair.from} ${pair.to}`, pair]));
  const families = FAMILIES.filter((family) => pairs.some((pair) => pair.family === family));
  return families.map((family) => {
    const rows = senders.map((from): Cell[] => [
      from,
      ...targets.map((to) => cell(cells.get(`${family} ${from} ${to}`))),
    ]);
    return `${table([`IPv${family}, ms`, ...targets], rows)}\n`;
  });
}

function cell(pair: Pair | undefined): Cell {
  if (!pair) return paint('dim', '-');
  if (pair.rtt === undefined) return paint('red', 'FAIL');
  if (pair.ownSource === undefined) return paint('red', 'source?');
  if (!pair.ownSource) return paint('red', 'NAT');
  return paint('green', pair.rtt.toFixed(2));
}

function summary(pairs: readonly Pair[]): string {
  const good = pairs.filter(isGood).length;
  const times = pairs.flatMap(({ rtt }) => rtt ?? []).sort((a, b) => a - b);
  const median = times[Math.floor(times.length / 2)];
  const worst = times.at(-1);
  const rtt =
    median === undefined ? '' : `; round trip median ${median.toFixed(2)} ms, worst ${worst?.toFixed(2)} ms`;
  const nat = good === pairs.length ? '; every source address was the sender’s own' : '';
  return render(
    paint(
      good === pairs.length ? 'green' : 'red',
      `${good} of ${pairs.length} pairs reached without NAT${rtt}${nat}`,
    ),
  );
}

function failures(pairs: readonly Pair[]): string[] {
  const failed = pairs.filter((pair) => !isGood(pair));
  const lines = failed
    .slice(0, MAX_FAILURES)
    .map((pair) => `  ${pair.from} -> ${pair.to} IPv${pair.family}: ${reason(pair)}`);
  if (failed.length > MAX_FAILURES) lines.push(`  and ${failed.length - MAX_FAILURES} more`);
  return lines;
}

function reason({ reached, error, source }: Pair): string {
  if (!reached) return error ?? 'no reply';
  return source ? `the target saw source ${source}` : 'unknown which source the target saw';
}

function milliseconds(text: string): number {
  const value = Number(text);
  if (/^[0-9]+$/.test(text) && value > 0 && value <= 60_000) return value;
  throw new InvalidArgumentError('Write milliseconds, for example 1000.');
}
