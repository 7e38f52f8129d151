import { type Profiler, Session } from 'node:inspector';

/**
 * How many blocks of the policies' code run during `work`: the same on every machine, however busy. Only what
 * is imported for the first time after `countOperations` is counted block by block.
 */
export function countOperations(): (work: () => unknown) => number {
  const session = new Session();
  session.connect();
  session.post('Profiler.enable');
  session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  const taken = (): number => {
    let sum = 0;
    session.post('Profiler.takePreciseCoverage', (error, coverage) => {
      if (error) throw error;
      sum = blocksIn(coverage.result);
    });
    return sum;
  };
  return (work) => {
    taken();
    work();
    return taken();
  };
}

function blocksIn(scripts: readonly Profiler.ScriptCoverage[]): number {
  const ours = scripts.filter(({ url }) => url.includes('/src/policy/') || url.includes('/src/ip/'));
  const ranges = ours.flatMap(({ functions }) => functions.flatMap((each) => each.ranges));
  return ranges.reduce((sum, { count }) => sum + count, 0);
}
