import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { KubeletCluster } from '../nodes/cluster.ts';
import { component } from '../nodes/component.ts';
import { runOutside } from './outside.ts';
import { conclude, readReport } from './report.ts';

const REPORT = 'report.json';

/** As scripts/e2e explains them. */
type Options = {
  readonly built: string;
  readonly focus: string;
  readonly skip?: string | undefined;
  readonly labels: string;
  readonly procs: string;
  readonly minutes: string;
  readonly output: string;
  /** Ends the cases in order. */
  readonly signal: AbortSignal;
};

/** Runs the cases, says how they ended, and returns the exit status. */
export async function runCases({ plane, nodes }: KubeletCluster, options: Options): Promise<number> {
  const { built, focus, skip, labels, procs, minutes, output, signal } = options;
  signal.throwIfAborted();
  mkdirSync(output, { recursive: true });
  rmSync(join(output, REPORT), { force: true });
  const ginkgo = [
    join(built, 'ginkgo'),
    ...[`--procs=${procs}`, `--timeout=${minutes}m`, '--no-color', '--poll-progress-after=5m'],
    ...[`--output-dir=${output}`, `--json-report=${REPORT}`],
    ...[`--focus=${focus}`, `--label-filter=${labels}`],
    ...(skip === undefined ? [] : [`--skip=${skip}`]),
  ];
  const suite = [
    join(built, 'e2e.test'),
    '--',
    `--kubeconfig=${plane.kubeconfig('admin', 'system:masters')}`,
    `--kubectl-path=${component('kubectl')}`,
    '--provider=local',
    // Without it, parallel runs skip cases that need more than one node.
    `--num-nodes=${nodes.length}`,
    '--disable-log-dump',
  ];
  const log = join(output, 'ginkgo.log');
  const code = await runOutside(plane, [...ginkgo, ...suite], log, signal);
  return conclude(readReport(readFileSync(join(output, REPORT), 'utf8')), code, log);
}
