/** What Ginkgo says of a case that it ran. */
export type Case = {
  readonly name: string;
  /** `passed`, `failed`, `skipped`, `timedout`, `panicked`, `interrupted`, … */
  readonly state: string;
  readonly seconds: number;
  /** Why it failed or skipped itself. */
  readonly message: string;
};

type Report = readonly {
  readonly SpecReports: readonly {
    readonly ContainerHierarchyTexts: readonly string[] | null;
    readonly LeafNodeText: string;
    readonly LeafNodeType: string;
    readonly State: string;
    /** Nanoseconds. */
    readonly RunTime: number;
    readonly Failure?: { readonly Message: string };
  }[];
}[];

/** Reads Ginkgo's JSON report: the cases that were run, and what failed before or after them. */
export function readReport(json: string): readonly Case[] {
  const specs = (JSON.parse(json) as Report).flatMap(({ SpecReports }) => SpecReports);
  const isRun = ({ LeafNodeType, State, Failure }: (typeof specs)[number]): boolean =>
    LeafNodeType === 'It' ? State !== 'skipped' || Failure !== undefined : State !== 'passed';
  return specs.filter(isRun).map((spec) => ({
    name: [...(spec.ContainerHierarchyTexts ?? []), spec.LeafNodeText || spec.LeafNodeType].join(' '),
    state: spec.State,
    seconds: spec.RunTime / 1e9,
    message: spec.Failure?.Message ?? '',
  }));
}

/** Says how many cases there were of each state, and why those did not pass that did not. */
function summary(cases: readonly Case[]): string {
  const states = Map.groupBy(cases, ({ state }) => state);
  const counts = [...states].map(([state, { length }]) => `${length} ${state}`);
  const lines = cases
    .filter(({ state }) => state !== 'passed')
    .map(({ name, state, seconds, message }) => {
      const why = message.split('\n').slice(0, 12).join('\n    ');
      return `${state} after ${Math.round(seconds)} s: ${name}\n    ${why}`;
    });
  return [...lines, `e2e: ${counts.join(', ') || 'no case has such a name'}`].join('\n');
}

/**
 * Prints the summary, and returns the exit status. `code` is that of the program that ran the cases, `log`
 * where it says more.
 */
export function conclude(cases: readonly Case[], code: number | null, log: string): number {
  console.log(summary(cases));
  const isWell = cases.every(({ state }) => state === 'passed' || state === 'skipped');
  if (isWell && code !== 0)
    console.error(`e2e: the cases' own program failed with status ${code}: see ${log}`);
  return isWell && code === 0 && cases.length > 0 ? 0 : 1;
}
