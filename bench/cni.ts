// CNI calls as a container runtime sees them, whole processes, against the reference `bridge` + `host-local` in the same
// run: each measurement of ours has one of theirs next to it, so that what else the machine does meets both.
//   node bench/cni.ts [--pods N] [--rounds N] [--json]
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { installPlugins } from '../src/cni/shim/install.ts';
import { withNetns } from '../src/linux/netns.ts';
import { Host, Pod } from '../test/cni/host.ts';

const REFERENCE = '/usr/lib/cni';
const SHIM = new URL('../dist/flatnet-cni', import.meta.url).pathname;

const SUBNETS = { subnets: ['10.90.1.0/24'], networks: ['10.90.0.0/16'] };

type Side = { readonly name: 'flatnet' | 'reference'; readonly plugin: string; readonly conf: object };
type Row = {
  readonly what: string;
  readonly unit: string;
  readonly flatnet: number;
  readonly reference: number;
  readonly target: string;
  readonly ratio: number;
};

const { values: options } = parseArgs({
  options: {
    pods: { type: 'string', default: '60' },
    rounds: { type: 'string', default: '3' },
    json: { type: 'boolean', default: false },
    agent: { type: 'string' },
  },
});

if (options.agent) await serve(options.agent);
else await main();

/** The agent's part, in a process of its own as in life. `dir` and namespace are the parent's. */
async function serve(netns: string): Promise<void> {
  const host = await new Host({ ...SUBNETS, netns, dir: process.cwd() }).listen();
  process.send?.('listening');
  process.once('disconnect', () => void host.stop().then(() => process.exit(0)));
}

async function main(): Promise<void> {
  for (const program of [SHIM, `${REFERENCE}/bridge`, `${REFERENCE}/host-local`]) {
    if (!existsSync(program)) {
      console.error(
        `bench/cni: ${program} is missing: run 'make shim' and install containernetworking-plugins`,
      );
      process.exit(1);
    }
  }
  const dir = mkdtempSync(join(tmpdir(), 'flatnet-bench-'));
  await using host = new Host({ ...SUBNETS, dir });
  await host.stop();
  const agent = spawn(process.execPath, [...process.execArgv, import.meta.filename, '--agent', host.netns], {
    cwd: dir,
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  try {
    await new Promise((resolve) => agent.once('message', resolve));
    const binDir = join(dir, 'bin');
    mkdirSync(binDir);
    installPlugins(SHIM, binDir);
    const sides = makeSides(binDir, host);
    const rows = [
      ...serial(sides, host, Number(options.pods)),
      await parallel(sides, host, Number(options.rounds)),
    ];
    report(rows);
  } finally {
    agent.kill('SIGTERM');
    rmSync(dir, { recursive: true, force: true });
  }
}

function makeSides(binDir: string, host: Host): readonly [Side, Side] {
  return [
    {
      name: 'flatnet',
      plugin: join(binDir, 'flatnet'),
      conf: { cniVersion: '1.0.0', name: 'cbr0', type: 'flatnet', socket: host.socketPath },
    },
    {
      name: 'reference',
      plugin: join(REFERENCE, 'bridge'),
      conf: {
        cniVersion: '1.0.0',
        name: 'reference',
        type: 'bridge',
        bridge: 'cni1',
        mtu: 1450,
        hairpinMode: true,
        isDefaultGateway: true,
        ipam: {
          type: 'host-local',
          dataDir: join(host.dir, 'reference'),
          ranges: [[{ subnet: '10.91.1.0/24' }]],
          routes: [{ dst: '10.90.0.0/16' }],
        },
      },
    },
  ];
}

/** One call after another, the two sides taking turns. */
function serial(sides: readonly [Side, Side], host: Host, count: number): Row[] {
  const times = {
    ADD: { flatnet: [] as number[], reference: [] as number[] },
    DEL: { flatnet: [] as number[], reference: [] as number[] },
  };
  // The first calls of each side make bridges and folders, and warm the caches.
  for (let i = -3; i < count; i++) {
    const order = i % 2 ? sides : [sides[1], sides[0]];
    using a = new Pod();
    using b = new Pod();
    for (const command of ['ADD', 'DEL'] as const) {
      for (const side of order) {
        const pod = side === sides[0] ? a : b;
        const took = withNetns(host.path, () => {
          const start = performance.now();
          const { status, stdout, stderr } = spawnSync(side.plugin, {
            env: environment(command, `c${i + 3}`, pod),
            input: JSON.stringify(side.conf),
          });
          if (status !== 0) throw new Error(`${side.name} ${command}: ${stdout}${stderr}`);
          return performance.now() - start;
        });
        if (i >= 0) times[command][side.name].push(took);
      }
    }
  }
  return (['ADD', 'DEL'] as const).map((command) => {
    const [flatnet, reference] = [median(times[command].flatnet), median(times[command].reference)];
    const target = command === 'ADD' ? '≤ 0.85' : '≤ 0.40';
    return {
      what: `${command}, whole process, p50`,
      unit: 'ms',
      flatnet,
      reference,
      target,
      ratio: flatnet / reference,
    };
  });
}

/** Fifty pods at the same moment: pods per second until the last is there. */
async function parallel(sides: readonly [Side, Side], host: Host, rounds: number): Promise<Row> {
  const rates = { flatnet: [] as number[], reference: [] as number[] };
  for (let round = 0; round < rounds; round++) {
    for (const side of round % 2 ? sides : sides.toReversed()) {
      const pods = Array.from({ length: 50 }, () => new Pod());
      const all = (command: 'ADD' | 'DEL') =>
        Promise.all(pods.map((pod, i) => run(side, command, `p${round}-${i}`, pod, host)));
      try {
        const start = performance.now();
        await all('ADD');
        rates[side.name].push(50_000 / (performance.now() - start));
        await all('DEL');
      } finally {
        for (const pod of pods) pod[Symbol.dispose]();
        // The kernel takes namespaces apart in the background, under the lock that everybody needs.
        await sleep(1500);
      }
    }
  }
  const [flatnet, reference] = [median(rates.flatnet), median(rates.reference)];
  return {
    what: 'ADD, 50 at once',
    unit: 'pods/s',
    flatnet,
    reference,
    target: '≥ 2.50',
    ratio: flatnet / reference,
  };
}

function run(side: Side, command: string, id: string, pod: Pod, host: Host): Promise<void> {
  const child = withNetns(host.path, () =>
    spawn(side.plugin, { env: environment(command, id, pod), stdio: 'pipe' }),
  );
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (text) => {
      said += text;
    });
  }
  child.stdin.end(JSON.stringify(side.conf));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status) =>
      status === 0 ? resolve() : reject(new Error(`${side.name} ${command}: ${said}`)),
    );
  });
}

function environment(command: string, id: string, pod: Pod): Record<string, string> {
  return {
    PATH: process.env.PATH ?? '',
    CNI_COMMAND: command,
    CNI_CONTAINERID: id,
    CNI_NETNS: pod.path,
    CNI_IFNAME: 'eth0',
    CNI_PATH: REFERENCE,
    CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${id}`,
  };
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}

function report(rows: readonly Row[]): void {
  if (options.json) {
    console.log(JSON.stringify(rows));
    return;
  }
  const cells = rows.map((row) => [
    row.what,
    row.unit,
    row.flatnet.toFixed(1),
    row.reference.toFixed(1),
    row.ratio.toFixed(2),
    row.target,
  ]);
  const table = [['', '', 'flatnet', 'bridge+host-local', 'ratio', 'target'], ...cells];
  const widths = [0, 1, 2, 3, 4, 5].map((i) => Math.max(...table.map((line) => line[i]?.length ?? 0)));
  for (const line of table)
    console.log(
      line.map((cell, i) => (i < 2 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join('  '),
    );
}
