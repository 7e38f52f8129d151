// CNI calls as a container runtime sees them (whole processes), compared with the reference plugins `bridge`
// + `host-local` in the same run. The two alternate, so that other load on the machine affects both.
//   node bench/cni.ts [--json]
import { copyFileSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { FALLBACK } from '../src/cni/shim/install.ts';
import { netnsPath } from '../src/linux/netns.ts';
import { Pod } from '../test/cni/host.ts';
import { configure, Node, startStore, storeAt } from './lib/agent.ts';
import { benchmark, type Machine, wire } from './lib/machine.ts';
import { type Budget, median, type Row, row } from './lib/report.ts';
import { quoted, Shell } from './lib/shell.ts';

const REFERENCE = '/usr/lib/cni';
const NETWORK = { Network: '10.90.0.0/16', SubnetLen: 24, Backend: { Type: 'vxlan' } };

/** Consecutive calls per side. */
const PODS = 60;
/** Rounds of fifty pods at once. With three, two runs of the same code differed by a quarter. */
const ROUNDS = 7;
const AT_ONCE = 50;
/** Pods on a full node. */
const FULL = 250;
/** Calls on the full node and on the empty one, each. */
const COMPARED = 40;

/** One way to wire a pod. */
type Side = {
  /** Starts the plugin. */
  readonly shell: Shell;
  readonly plugin: string;
  /** File with the configuration. */
  readonly conf: string;
  readonly path: string;
  /** A plugin that runs after it, and its configuration without `prevResult`. */
  readonly next?: { readonly plugin: string; readonly conf: object };
};
type Command = 'ADD' | 'DEL';

await benchmark('CNI', async (machine) => {
  if (!existsSync(join(REFERENCE, 'host-local'))) {
    throw new Error('the reference plugins are missing: apt-get install containernetworking-plugins');
  }
  const { endpoint, kv } = await startStore(machine, 'store');
  await configure(kv, NETWORK);
  kv.close();
  const [empty, full] = [
    await newNode(machine, 'empty', 1, endpoint),
    await newNode(machine, 'full', 2, endpoint),
  ];
  const ours = sideOf(machine, empty);
  const reference = referenceOn(machine, empty.netns);
  const rows = [
    ...(await serial('', ours, reference, { ADD: { atMost: 0.4 }, DEL: { atMost: 0.2 } })),
    ...(await serial(', with a host port and masquerade', ...withHostPort(machine, empty), {
      ADD: { atMost: 0.25 },
    })),
    await parallel(ours, reference),
    ...(await serial(', by the fallback', { ...ours, plugin: fallbackOf(machine) }, reference)),
    await compared(machine, full, ours),
  ];
  for (const node of [empty, full]) await node.stop('SIGTERM');
  return rows;
});

/** One call after another, the two sides taking turns. */
async function serial(
  suffix: string,
  ours: Side,
  reference: Side,
  budget: Partial<Record<Command, Budget>> = {},
): Promise<Row[]> {
  const commands: readonly Command[] = ['ADD', 'DEL'];
  const times = await turns([ours, reference], PODS);
  return commands.map((command) => {
    const [value = Number.NaN, baseline = Number.NaN] = times.map((each) => median(each[command]));
    const more = { reference: baseline, ...(budget[command] && { budget: budget[command] }) };
    return row(`${command}, whole process, p50${suffix}`, 'ms', value, more);
  });
}

/** Creates and deletes `count` pods on each side in turn; returns the duration of every call in ms. */
async function turns(sides: readonly Side[], count: number): Promise<Record<Command, number[]>[]> {
  const times = sides.map(() => ({ ADD: [] as number[], DEL: [] as number[] }));
  // The first calls of each side create bridges and folders, and warm the caches.
  for (let i = -3; i < count; i++) {
    using stack = new DisposableStack();
    const pods = sides.map((side) => ({ side, pod: stack.use(new Pod()) }));
    const order = i % 2 ? [...pods.keys()] : [...pods.keys()].reverse();
    for (const command of ['ADD', 'DEL'] as const) {
      for (const at of order) {
        const took = await timed(command, pods.slice(at, at + 1));
        if (i >= 0) times[at]?.[command].push(took);
      }
    }
  }
  return times;
}

/** Calls the plugin for pods, all at once; returns how many milliseconds passed until the last had ended. */
async function timed(
  command: Command,
  pods: readonly { readonly side: Side; readonly pod: Pod }[],
): Promise<number> {
  const [first] = pods;
  if (!first) return 0;
  const calls = pods.map(({ side, pod }) => call(side, command, pod));
  const script =
    calls.length === 1
      ? calls.join('')
      : [
          ...calls.map((each, i) => `${each} & p${i}=$!`),
          'failed=0',
          ...calls.map((_, i) => `wait $p${i} || failed=1`),
          '(exit $failed)',
        ].join('\n');
  const start = performance.now();
  await first.side.shell.run(script);
  return performance.now() - start;
}

/** Fifty pods at once: pods per second until the last is ready. */
async function parallel(ours: Side, reference: Side): Promise<Row> {
  const rates = new Map<Side, number[]>([
    [ours, []],
    [reference, []],
  ]);
  for (let round = 0; round < ROUNDS; round++) {
    for (const side of round % 2 ? [ours, reference] : [reference, ours]) {
      const pods = Array.from({ length: AT_ONCE }, () => ({ side, pod: new Pod() }));
      try {
        rates.get(side)?.push((AT_ONCE * 1000) / (await timed('ADD', pods)));
        await timed('DEL', pods);
      } finally {
        for (const { pod } of pods) pod[Symbol.dispose]();
        // The kernel dismantles namespaces in the background while holding a lock that all calls need.
        await sleep(1500);
      }
    }
  }
  const rate = (side: Side): number => median(rates.get(side) ?? []);
  return row(`ADD, ${AT_ONCE} at once`, 'pods/s', rate(ours), {
    reference: rate(reference),
    budget: { atLeast: 2.5 },
  });
}

/** ADD on a node full of pods, compared with ADD on a node without any. */
async function compared(machine: Machine, full: Node, empty: Side): Promise<Row> {
  for (let i = 0; i < FULL; i++) await full.add(`full${i}`, machine.netns(`full${i}`));
  const [many, none] = await turns([sideOf(machine, full), empty], COMPARED);
  return row(`ADD with ${FULL} pods on the node, vs. none`, 'ms', median(many?.ADD ?? []), {
    reference: median(none?.ADD ?? []),
    budget: { atMost: 1.15 },
  });
}

async function newNode(machine: Machine, name: string, index: number, endpoint: string): Promise<Node> {
  const netns = machine.netns(name);
  await wire([{ netns, address: `172.20.0.${index}/16` }, { netns: machine.netns(`${name}-far`) }]);
  return started(new Node(machine, name, netns, storeAt(endpoint)));
}

/** Starts the agent twice: the first start after a source change also compiles the code. */
async function started(node: Node): Promise<Node> {
  for (let i = 0; i < 2; i++) {
    await node.stop('SIGTERM');
    node.start();
    await node.ready();
  }
  return node;
}

function sideOf(machine: Machine, node: Node, more: object = {}): Side {
  const { binDir, conf } = node.cni();
  return sideIn(machine, node.netns, {
    name: `${node.name}-${Object.keys(more)}`,
    plugin: join(binDir, 'flatnet'),
    path: binDir,
    conf: { ...conf, ...more },
  });
}

/** Both sides for pods with a host port whose addresses are masqueraded: the agent's, and three plugins. */
function withHostPort(machine: Machine, node: Node): [ours: Side, reference: Side] {
  const runtimeConfig = { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }] };
  const reference = referenceOn(machine, node.netns, { ipMasq: true });
  const conf = { cniVersion: '1.0.0', name: 'reference', type: 'portmap', runtimeConfig };
  return [
    sideOf(machine, node, { runtimeConfig }),
    { ...reference, next: { plugin: join(REFERENCE, 'portmap'), conf } },
  ];
}

function sideIn(
  machine: Machine,
  netns: string,
  { name, plugin, path, conf }: { readonly name: string; plugin: string; path: string; conf: object },
): Side {
  const shell = new Shell(netns);
  machine.defer(() => shell[Symbol.asyncDispose]());
  const file = join(machine.dir, `${name}.conf`);
  writeFileSync(file, JSON.stringify(conf));
  return { shell, plugin, path, conf: file };
}

/** The plugin as installed where there is no C compiler. */
function fallbackOf(machine: Machine): string {
  const dir = join(machine.dir, 'fallback');
  mkdirSync(dir);
  copyFileSync(new URL(`../dist/${FALLBACK}`, import.meta.url), join(dir, 'flatnet'));
  return join(dir, 'flatnet');
}

function referenceOn(machine: Machine, netns: string, more: object = {}): Side {
  const ranges = [[{ subnet: '10.91.1.0/24' }]];
  return sideIn(machine, netns, {
    name: `reference-${Object.keys(more)}`,
    plugin: join(REFERENCE, 'bridge'),
    path: REFERENCE,
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
        dataDir: join(machine.dir, 'reference'),
        ranges,
        routes: [{ dst: '10.90.0.0/16' }],
      },
      ...more,
    },
  });
}

/** The call as a shell's command. */
function call(side: Side, command: Command, pod: Pod): string {
  const variables = {
    CNI_COMMAND: command,
    CNI_CONTAINERID: pod.name,
    CNI_NETNS: netnsPath(pod.name),
    CNI_IFNAME: 'eth0',
    CNI_PATH: side.path,
    CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${pod.name}`,
  };
  const assignments = Object.entries(variables).map(([name, value]) => `${name}=${quoted(value)}`);
  const first = `${assignments.join(' ')} ${quoted(side.plugin)} <${quoted(side.conf)}`;
  if (!side.next) return first;
  const second = `${assignments.join(' ')} ${quoted(side.next.plugin)}`;
  const conf = JSON.stringify(side.next.conf);
  if (command === 'DEL') return `printf %s ${quoted(conf)} | ${second} && ${first}`;
  const start = quoted(`${conf.slice(0, -1)},"prevResult":`);
  return `result=$(${first}) && printf '%s%s}' ${start} "$result" | ${second}`;
}
