import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { nextTurn } from '../../../src/async/pause.ts';
import type { Family } from '../../../src/ip/address.ts';
import { type PresetName, withBackend, withPreset } from '../../../src/lab/network.ts';
import { KubeletCluster, type Life } from '../nodes/cluster.ts';
import { DNS, podNetworks } from '../nodes/networks.ts';
import { FOLDER } from '../nodes/switch.ts';
import { CLUSTER_NETWORK_POLICIES, conformanceImages } from './conformance.ts';
import { imageArchives } from './images.ts';
import { serveLoadBalancers } from './load-balancers.ts';
import { installReference, peerFromOutside, routeFromOutside } from './network.ts';

const run = promisify(execFile);

const ROOT = join(import.meta.dirname, '../../..');

type Options = {
  readonly life: Life & { readonly signal: AbortSignal };
  /** Where scripts/e2e has put what it built. */
  readonly built: string;
  readonly preset: PresetName;
  /** Default: the preset's. */
  readonly backend: string | undefined;
  /** The cluster's DNS has the first one. */
  readonly families: readonly Family[];
  /** Whether Services of the type LoadBalancer get an address. */
  readonly loadBalancers: boolean;
  /** Whether policies are enforced. */
  readonly policy: boolean;
  readonly reference: boolean;
};

/** Starts three kubelets, a pod network, and the cluster's DNS. */
export async function startCluster(options: Options): Promise<KubeletCluster> {
  const { life, built, preset, backend, families, loadBalancers, policy, reference } = options;
  const { signal } = life;
  const say = (what: string): void => console.log(`e2e: ${what}`);
  say('building the images');
  const listed = await run(join(built, 'e2e.test'), ['--list-images']);
  const wanted = [...listed.stdout.split('\n'), ...conformanceImages(built)];
  const archives = imageArchives(FOLDER, built, wanted);
  // A signal that came meanwhile is noticed in the next turn.
  await nextTurn();
  signal.throwIfAborted();
  const other = reference ? { install: installReference } : { image: await flatnetImage() };
  const type = backend ?? (preset === 'flannel' ? 'vxlan' : 'bgp');
  const pods = { ...podNetworks(families), ...(policy && { policy }) };
  const network = withPreset(preset, withBackend(type, pods)) as object;
  const manifests = policy ? [join(built, CLUSTER_NETWORK_POLICIES)] : [];
  say('starting three kubelets');
  const cluster = await KubeletCluster.start(life, { network, families, archives, manifests, ...other });
  const peers = preset !== 'flannel' && !reference;
  await (peers ? peerFromOutside(life, cluster) : routeFromOutside(cluster));
  if (loadBalancers) await serveLoadBalancers(life, cluster);
  await installDns(cluster, families);
  return cluster;
}

async function flatnetImage(): Promise<string> {
  await run(join(ROOT, 'scripts/image'), ['--output', FOLDER]);
  return join(FOLDER, `flatnet-${process.arch === 'x64' ? 'amd64' : process.arch}.tar`);
}

async function installDns({ plane }: KubeletCluster, [family = 4]: readonly Family[]): Promise<void> {
  const manifest = join(FOLDER, 'dns.yaml');
  const text = readFileSync(join(import.meta.dirname, 'dns.yaml'), 'utf8');
  writeFileSync(manifest, text.replace(DNS[4], DNS[family]));
  await plane.kubectl('apply', '--server-side', '-f', manifest);
  const wait = ['rollout', 'status', '--timeout=90s', '-n', 'kube-system', 'deployment/coredns'];
  await plane.kubectl(...wait);
}
