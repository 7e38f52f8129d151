import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, openSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { KubeletCluster } from '../nodes/cluster.ts';
import { component } from '../nodes/component.ts';
import { readReport, summary } from './report.ts';

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
  const log = join(output, 'ginkgo.log');
  rmSync(join(output, REPORT), { force: true });
  console.log(`e2e: running the cases; what they say: ${log}`);
  const file = openSync(log, 'w');
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
  const argv = ['--pdeathsig=KILL', 'ip', 'netns', 'exec', plane.netns, ...ginkgo, ...suite];
  // In a group of its own: all of its processes want the signal, but once, or they do not clean up.
  const child = spawn('setpriv', argv, { stdio: ['ignore', file, file], detached: true });
  signal.addEventListener('abort', () => child.pid !== undefined && process.kill(-child.pid, 'SIGINT'));
  const [code] = await once(child, 'exit');
  const cases = readReport(readFileSync(join(output, REPORT), 'utf8'));
  console.log(summary(cases));
  const isWell = cases.length > 0 && cases.every(({ state }) => state === 'passed' || state === 'skipped');
  if (isWell && code !== 0) console.error(`e2e: ginkgo itself failed with status ${code}: see ${output}`);
  return isWell && code === 0 ? 0 : 1;
}
