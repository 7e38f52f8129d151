import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { KubeletCluster } from '../nodes/cluster.ts';
import { runOutside } from './outside.ts';
import { type Case, conclude } from './report.ts';

/** The definition of ClusterNetworkPolicies, among what scripts/e2e has built. */
export const CLUSTER_NETWORK_POLICIES = 'clusternetworkpolicies.yaml';

/** As scripts/e2e explains them. */
type Options = {
  readonly built: string;
  readonly focus: string;
  readonly minutes: string;
  readonly output: string;
  readonly signal: AbortSignal;
};

/** The names of the images that the suite's pods want. */
export function conformanceImages(built: string): readonly string[] {
  const manifests = readFileSync(join(built, 'conformance.yaml'), 'utf8');
  return [...new Set(Array.from(manifests.matchAll(/^ *image: (\S+)$/gm), ([, name]) => name ?? ''))];
}

/**
 * Runs the conformance suite of network-policy-api with all of its features, says how the cases ended, and
 * returns the exit status.
 */
export async function runConformance({ plane }: KubeletCluster, options: Options): Promise<number> {
  const { built, focus, minutes, output, signal } = options;
  signal.throwIfAborted();
  mkdirSync(output, { recursive: true });
  const log = join(output, 'conformance.log');
  const suite = [
    ...['env', `KUBECONFIG=${plane.kubeconfig('admin', 'system:masters')}`],
    ...[join(built, 'conformance.test'), '-test.v', `-test.run=^TestConformance$/${focus}`],
    ...[`-test.timeout=${minutes}m`, '-all-features'],
  ];
  const code = await runOutside(plane, suite, log, signal);
  return conclude(readResults(readFileSync(log, 'utf8')), code, log);
}

/** Reads what `go test -v` says of the cases; of those that failed, which steps. */
function readResults(log: string): readonly Case[] {
  const results = Array.from(
    log.matchAll(/^ *--- (PASS|FAIL|SKIP): TestConformance\/(\w+)(?:\/(\S+))? \((\S+)s\)$/gm),
    ([, result = '', name = '', step, seconds]) => ({ result, name, step, seconds: Number(seconds) }),
  );
  const ended = new Set(results.map(({ name }) => name));
  const begun = Array.from(log.matchAll(/^=== RUN +TestConformance\/(\w+)$/gm), ([, name = '']) => name);
  const failed = (of: string): readonly string[] =>
    results.flatMap(({ result, name, step = [] }) => (name === of && result === 'FAIL' ? step : []));
  const unfinished = begun
    .filter((name) => !ended.has(name))
    .map((name) => ({
      name,
      state: 'unfinished',
      seconds: 0,
      message: 'the suite ended before it said more',
    }));
  const finished = results
    .filter(({ step }) => step === undefined)
    .map(({ result, name, seconds }) => ({
      name,
      state: { PASS: 'passed', FAIL: 'failed', SKIP: 'skipped' }[result] ?? result,
      seconds,
      message: failed(name).join('\n'),
    }));
  return [...finished, ...unfinished];
}
