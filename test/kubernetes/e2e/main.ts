// Runs upstream's end-to-end cases (scripts/e2e).
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { KubeletCluster } from '../nodes/cluster.ts';
import { component } from '../nodes/component.ts';
import { POD_NETWORKS } from '../nodes/control-plane.ts';
import { imageArchives } from './images.ts';
import { installReference, routeFromOutside } from './network.ts';
import { readReport, summary } from './report.ts';

const ROOT = join(import.meta.dirname, '../../..');
const BUILT = process.env.FLATNET_E2E ?? '';

/** Features other than dual stack need clouds, the Internet or kernel modules. */
const LABELS = '!Disruptive && Feature: isSubsetOf {IPv6DualStack}';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    skip: { type: 'string' },
    labels: { type: 'string', default: LABELS },
    backend: { type: 'string', default: 'vxlan' },
    'dual-stack': { type: 'boolean', default: false },
    reference: { type: 'boolean', default: false },
    procs: { type: 'string', default: '4' },
    minutes: { type: 'string', default: '30' },
    output: { type: 'string', default: join(ROOT, 'dist/e2e') },
  },
});
const [focus = 'Networking'] = positionals;
const output = resolve(values.output);
const REPORT = 'report.json';

const ends: (() => unknown)[] = [];
const folder = mkdtempSync(join(tmpdir(), 'flatnet-e2e-'));
ends.push(() => rmSync(folder, { recursive: true }));
try {
  const cluster = await start();
  process.exitCode = await runCases(cluster);
} finally {
  for (const end of ends.reverse()) await end();
}

async function start(): Promise<KubeletCluster> {
  const say = (what: string): void => console.log(`e2e: ${what}`);
  say('building the images');
  const listed = execFileSync(join(BUILT, 'e2e.test'), ['--list-images'], {
    encoding: 'utf8',
    stdio: 'pipe',
  });
  const archives = imageArchives(folder, BUILT, listed.split('\n'));
  const ipv6 = values['dual-stack'];
  const [Network, IPv6Network] = POD_NETWORKS;
  const network = {
    Network,
    ...(ipv6 && { EnableIPv6: true, IPv6Network }),
    Backend: { Type: values.backend },
  };
  const life = { after: (end: () => unknown) => void ends.push(end) };
  say('starting three kubelets');
  const other = values.reference ? { install: installReference } : { image: flatnetImage() };
  const cluster = await KubeletCluster.start(life, { network, ipv6, archives, ...other });
  await routeFromOutside(cluster);
  const dns = join(import.meta.dirname, 'dns.yaml');
  await cluster.plane.kubectl('apply', '--server-side', '-f', dns);
  await cluster.plane.kubectl(
    'rollout',
    'status',
    '--timeout=90s',
    '-n',
    'kube-system',
    'deployment/coredns',
  );
  return cluster;
}

function flatnetImage(): string {
  execFileSync(join(ROOT, 'scripts/image'), ['--output', folder], { stdio: 'pipe' });
  return join(folder, `flatnet-${process.arch === 'x64' ? 'amd64' : process.arch}.tar`);
}

/** Returns the exit status. */
async function runCases({ plane, nodes }: KubeletCluster): Promise<number> {
  mkdirSync(output, { recursive: true });
  const log = join(output, 'ginkgo.log');
  rmSync(join(output, REPORT), { force: true });
  console.log(`e2e: running the cases; what they say: ${log}`);
  const file = openSync(log, 'w');
  const ginkgo = [
    join(BUILT, 'ginkgo'),
    ...[`--procs=${values.procs}`, `--timeout=${values.minutes}m`, '--no-color', '--poll-progress-after=5m'],
    ...[`--output-dir=${output}`, `--json-report=${REPORT}`],
    ...[`--focus=${focus}`, `--label-filter=${values.labels}`],
    ...(values.skip === undefined ? [] : [`--skip=${values.skip}`]),
  ];
  const suite = [
    join(BUILT, 'e2e.test'),
    '--',
    `--kubeconfig=${plane.kubeconfig('admin', 'system:masters')}`,
    `--kubectl-path=${component('kubectl')}`,
    '--provider=local',
    // Without it, parallel runs skip cases that need more than one node.
    `--num-nodes=${nodes.length}`,
    '--disable-log-dump',
  ];
  const argv = ['--pdeathsig=KILL', 'ip', 'netns', 'exec', plane.netns, ...ginkgo, ...suite];
  const child = spawn('setpriv', argv, { stdio: ['ignore', file, file] });
  // It then ends in order, and so does everything here.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill('SIGINT'));
  const [code] = await once(child, 'exit');
  const cases = readReport(readFileSync(join(output, REPORT), 'utf8'));
  console.log(summary(cases));
  const isWell = cases.length > 0 && cases.every(({ state }) => state === 'passed' || state === 'skipped');
  if (isWell && code !== 0) console.error(`e2e: ginkgo itself failed with status ${code}: see ${output}`);
  return isWell && code === 0 ? 0 : 1;
}
