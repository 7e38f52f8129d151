import { FlatnetError } from '../../error.ts';
import { linkDump } from '../../linux/link/link.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../linux/netlink/socket.ts';
import { down } from '../down.ts';
import { type Endpoint, nodeEndpoint, podEndpoint } from '../inspect/endpoint.ts';
import { createPod } from '../pods/pod.ts';
import { type Lab, labEnvironment } from '../record/lab.ts';
import { up } from '../up.ts';
import { type Effort, median, type Path, requireMeters, type Sample, sample } from './measure.ts';
import type { Scheme } from './scheme.ts';

/** Medians of all rounds; `nodes`: without a pod network, measured in turn on the same machine. */
export type Measured = {
  readonly scheme: string;
  /** Of pods, in bytes. */
  readonly mtu: number;
  readonly pods: Sample;
  readonly nodes: Sample;
};

export type Refused = { readonly scheme: string; readonly reason: string };

export type BenchOptions = {
  /** Of the labs, one after another. */
  readonly name: string;
  readonly rounds: number;
  readonly effort: Omit<Effort, 'env'>;
  readonly progress: (text: string) => void;
  readonly signal: AbortSignal;
};

/** What a machine may lack for a scheme. */
const LACKS = ['KERNEL_FEATURE', 'BIRD', 'NOT_FOUND'];

/**
 * Starts a lab of two nodes for each scheme, and measures between a pod of each and between the nodes
 * themselves, in turn. Yields each result once it is there; nothing of a lab is left.
 */
export async function* bench(
  schemes: readonly Scheme[],
  options: BenchOptions,
): AsyncGenerator<Measured | Refused> {
  await requireMeters();
  for (const scheme of schemes) {
    options.signal.throwIfAborted();
    try {
      yield await measure(scheme, options);
    } catch (error) {
      if (!(error instanceof FlatnetError && LACKS.includes(error.code))) throw error;
      yield { scheme: scheme.name, reason: error.message };
    }
  }
}

async function measure({ name: scheme, network }: Scheme, options: BenchOptions): Promise<Measured> {
  const { name, signal } = options;
  const progress = (text: string): void => options.progress(`${scheme}: ${text}`);
  const lab = await up({ name, nodes: 2, subnets: 1, network, progress, signal });
  try {
    const [from, to] = await podsOf(lab);
    const paths = { nodes: pathOf(...nodesOf(lab)), pods: pathOf(from, to) };
    const effort = { ...options.effort, env: labEnvironment(name) };
    const samples: Record<keyof typeof paths, Sample[]> = { nodes: [], pods: [] };
    for (let round = 1; round <= options.rounds; round++) {
      for (const which of ['nodes', 'pods'] as const) {
        signal.throwIfAborted();
        progress(`round ${round} of ${options.rounds}, between ${which}`);
        samples[which].push(await sample(paths[which], effort));
      }
    }
    return { scheme, mtu: mtuOf(from), nodes: median(samples.nodes), pods: median(samples.pods) };
  } finally {
    await down(name);
  }
}

type Pair = readonly [from: Endpoint, to: Endpoint];

async function podsOf(lab: Lab): Promise<Pair> {
  const pod = async (name: string, node: string): Promise<Endpoint> =>
    podEndpoint(lab, await createPod(lab, { namespace: 'default', name, node, labels: {}, containers: [] }));
  return [await pod('a', 'node1'), await pod('b', 'node2')];
}

function nodesOf(lab: Lab): Pair {
  const [from, to] = lab.nodes.map((node) => nodeEndpoint(lab, node));
  if (!from || !to) throw new Error(`lab ${lab.name} has no two nodes`);
  return [from, to];
}

function pathOf(from: Endpoint, to: Endpoint): Path {
  const address = to.addresses[4];
  if (from.netns === undefined || to.netns === undefined || address === undefined)
    throw new Error(`${to.name} has no IPv4 address`);
  return { from: from.netns, to: to.netns, address };
}

function mtuOf({ netns, name }: Endpoint): number {
  using socket = NetlinkSocket.open(NETLINK_ROUTE, { ...(netns !== undefined && { netns }) });
  const link = socket.dumpSync(linkDump()).find((each) => each.name === 'eth0');
  if (link?.mtu === undefined) throw new Error(`pod ${name} has no eth0`);
  return link.mtu;
}
