import { writeFileSync } from 'node:fs';
import { FlatnetError } from '../../error.ts';
import { bench, type Measured, type Refused } from '../../lab/bench/bench.ts';
import { chart } from '../../lab/bench/chart.ts';
import { type Scheme, schemes } from '../../lab/bench/scheme.ts';
import { integer, labOption, newCommand } from '../shared/commands.ts';
import { stopSignal } from '../shared/daemon.ts';
import { type Cell, Progress, paint, print, table } from '../shared/output.ts';

type Options = {
  readonly lab: string;
  readonly json?: boolean;
  readonly rounds: number;
  readonly seconds: number;
  readonly svg?: string;
};

const PINGS = 5000;

export const command = newCommand(
  'Measure every way to carry packets on this machine: between pods of two nodes, and between the nodes themselves in turn. Starts a lab for each and removes it again; takes about half a minute each.',
  ['flatnet lab bench', 'flatnet lab bench vxlan udp --rounds 5', 'flatnet lab bench --svg comparison.svg'],
)
  .argument(
    '[schemes...]',
    `of ${schemes()
      .map(({ name }) => name)
      .join(', ')} (default: all)`,
  )
  .addOption(labOption('name of the labs').default('bench'))
  .option('--rounds <n>', 'of which the median counts', integer(1, 99), 3)
  .option('--seconds <n>', 'duration of a TCP stream', integer(1, 600), 2)
  .option('--svg <file>', 'draw the figures, too')
  .option('--json', 'print JSON')
  .action(async (names: readonly string[], options: Options) => {
    const chosen = chosenSchemes(names);
    using progress = new Progress(options.json === true);
    const measured: Measured[] = [];
    const refused: Refused[] = [];
    const results = bench(chosen, {
      name: options.lab,
      rounds: options.rounds,
      effort: { seconds: options.seconds, pings: PINGS },
      progress: progress.say,
      signal: stopSignal(),
    });
    for await (const result of results) {
      if ('reason' in result) refused.push(result);
      else measured.push(result);
    }
    progress[Symbol.dispose]();
    if (options.svg !== undefined) writeFileSync(options.svg, chart(measured));
    print({ measured, refused }, options.json, () => text(measured, refused));
  });

function chosenSchemes(names: readonly string[]): readonly Scheme[] {
  const all = schemes();
  if (names.length === 0) return all;
  return names.map((name) => {
    const found = all.find((scheme) => scheme.name === name);
    if (found) return found;
    throw new FlatnetError(`unknown scheme '${name}'`, {
      code: 'USAGE',
      fix: `use one of ${all.map((each) => each.name).join(', ')}`,
    });
  });
}

const HEADER = ['SCHEME', 'MTU', 'TCP Gb/s', 'OF NODE', 'ROUND TRIP µs', 'OF NODE', 'CPU ms/Gb', 'OF NODE'];

/** Ratios are to what the nodes themselves reached in the same rounds. */
function text(measured: readonly Measured[], refused: readonly Refused[]): string {
  const rows = measured.map(({ scheme, mtu, pods, nodes }): Cell[] => [
    scheme,
    `${mtu}`,
    pods.throughput.toFixed(1),
    ratio(pods.throughput / nodes.throughput),
    pods.roundTrip.toFixed(1),
    ratio(pods.roundTrip / nodes.roundTrip),
    pods.processor.toFixed(0),
    ratio(pods.processor / nodes.processor),
  ]);
  const missing = refused.map(({ scheme, reason }) => `not measured: ${scheme}: ${reason}`);
  return [table(HEADER, rows), ...missing].filter((line) => line !== '').join('\n');
}

function ratio(value: number): Cell {
  return paint('bold', value.toFixed(2));
}
