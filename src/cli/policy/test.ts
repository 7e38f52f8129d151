import { Fields } from '../../cluster/fields.ts';
import { FlatnetError } from '../../error.ts';
import type { Cluster, Explanation } from '../../policy/explain/explain.ts';
import { answer } from '../../policy/explain/question.ts';
import { collect, newCommand } from '../shared/commands.ts';
import { EXIT, Exit } from '../shared/failure.ts';
import { paint, print, render, table } from '../shared/output.ts';
import { beside, clusterOf, readFiles } from '../shared/policy-files.ts';

const KIND = 'PolicyTest';

type Result = {
  readonly from: string;
  readonly to: string;
  readonly protocol: string;
  readonly port?: number;
  readonly expected: Explanation['verdict'];
  readonly found: Explanation['verdict'];
  readonly because: string;
};

export const command = newCommand(
  'Check expected verdicts from files alone: pods, namespaces and policies, and documents of kind PolicyTest with cases (docs/policy.md). Exit status 1 if one differs, or if a policy cannot be read.',
  ['flatnet policy test -f cases.yaml', 'flatnet policy test -f cases.yaml -f policies.yaml --json'],
)
  .requiredOption('-f, --file <file>', 'a file; again for more, - for standard input', collect(String))
  .option('--json', 'print JSON')
  .action(({ file, json }: { readonly file: readonly string[]; readonly json?: boolean }) => {
    const items = file.flatMap((each) => readFiles([each]).map((item) => ({ ...item, file: each })));
    const tests = items.filter(({ value }) => (value as { kind?: unknown } | null)?.kind === KIND);
    if (tests.length === 0) {
      throw new FlatnetError(`has no document of kind ${KIND}`, {
        code: 'CONFIG_INVALID',
        object: file.join(', '),
      });
    }
    const read = tests.map(({ value, where, file: from }) =>
      readTest(new Fields(value, `${where}${KIND}`), from),
    );
    const manifests = items.filter((item) => !tests.includes(item));
    const cluster = clusterOf([...manifests, ...readFiles([...new Set(read.flatMap(({ files }) => files))])]);
    const results = read.flatMap(({ cases }) => cases.map((each) => check(cluster, each)));
    print(results, json, describe);
    if (cluster.problems.length > 0 || results.some(({ expected, found }) => expected !== found))
      throw new Exit(EXIT.failed);
  });

type Case = Omit<Result, 'found' | 'because'> & { readonly fields: Fields };

function readTest(
  fields: Fields,
  file: string,
): { readonly files: readonly string[]; readonly cases: readonly Case[] } {
  fields.string('apiVersion');
  fields.string('kind');
  fields.raw('metadata');
  const files = fields.parsedList('manifests', (name) => beside(file, name)) ?? [];
  const cases = (fields.list('cases') ?? []).map((value, i) =>
    readCase(new Fields(value, `${fields.path}.cases[${i}]`)),
  );
  if (cases.length === 0) throw fields.invalid('cases', 'must not be empty');
  fields.refuseUnread();
  return { files, cases };
}

function readCase(fields: Fields): Case {
  const [from, to, expected] = ['from', 'to', 'expect'].map((name) => fields.string(name));
  if (!from) throw fields.invalid('from', 'is missing');
  if (!to) throw fields.invalid('to', 'is missing');
  if (expected !== 'allowed' && expected !== 'denied')
    throw fields.invalid('expect', 'must be allowed or denied');
  const port = fields.integer('port', 0, 65535);
  const protocol = fields.string('protocol') ?? 'TCP';
  fields.refuseUnread();
  return { from, to, protocol, expected, fields, ...(port !== undefined && { port }) };
}

function check(cluster: Cluster, { fields, ...each }: Case): Result {
  try {
    const { verdict, ends, exempt } = answer(cluster, each);
    const [decisive = ends[0]] = ends.filter((end) => end.verdict === 'denied');
    const because = decisive
      ? `${decisive.direction} of ${decisive.pod}: ${decisive.because}`
      : (exempt ?? 'neither end is a pod');
    return { ...each, found: verdict, because };
  } catch (error) {
    if (!(error instanceof FlatnetError)) throw error;
    throw new FlatnetError(error.message, { code: 'CONFIG_INVALID', object: fields.path, cause: error });
  }
}

function describe(results: readonly Result[]): string {
  const rows = results.map(({ from, to, protocol, port, expected, found, because }) => [
    expected === found ? paint('green', 'ok') : paint('red', 'WRONG'),
    from,
    to,
    port === undefined ? protocol : `${protocol} ${port}`,
    found,
    because,
  ]);
  const wrong = results.filter(({ expected, found }) => expected !== found).length;
  const verdict =
    wrong === 0
      ? paint('green', `all ${results.length} as expected`)
      : paint('red', `${wrong} of ${results.length} differ`);
  return `${table(['', 'FROM', 'TO', 'PORT', 'FOUND', 'BECAUSE'], rows)}\n${render(verdict)}`;
}
