import type { Network } from '../cluster/network.ts';
import { type LocalPod, type Node, podTitle } from '../cluster/node.ts';
import type { IpPool } from '../cluster/resources.ts';
import type { Ip } from '../ip/address.ts';
import { type Cidr, contains } from '../ip/cidr.ts';
import { aboutPod, type PodProblem, type Problem } from '../problem.ts';
import { Each } from './memo.ts';

/** A pod's addresses outside certain networks. */
export type Strays = Each<LocalPod, readonly Ip[]>;

type Stray = { readonly pod: LocalPod; readonly ip: Ip };

/** Warns of pods whose pool has been deleted. Without any pools, that is all pods. */
export function strayPods(
  { addresses }: Pick<Network, 'addresses'>,
  { ipPools }: { readonly ipPools: readonly Pick<IpPool, 'cidr'>[] },
  pods: readonly LocalPod[],
  strays: Strays = new Each(),
): readonly Problem[] {
  if (addresses !== 'blocks') return [];
  const stray = outside(
    pods,
    ipPools.map(({ cidr }) => cidr),
    strays,
  );
  if (stray.length === 0) return [];
  return [
    {
      id: 'pods-outside-pools',
      severity: 'warning',
      what: `addresses of pods are in no IPPool: ${listed(stray.map(strayText))}`,
      cause:
        'their traffic is not masqueraded, and pods of other pools reach them with their node’s address as source',
      fix: 'recreate the pods, or reapply the pool',
      pods: each(stray, 'is in no IPPool'),
    },
  ];
}

/** Warns of pods that still have addresses of a subnet that this node has lost. */
export function podsOfFormerSubnets(
  { addresses }: Pick<Network, 'addresses'>,
  { subnets }: Pick<Node, 'subnets'>,
  pods: readonly LocalPod[],
  strays: Strays = new Each(),
): readonly Problem[] {
  if (addresses !== 'lease') return [];
  const stray = outside(
    pods.filter(({ foreign }) => !foreign),
    subnets,
    strays,
  );
  if (stray.length === 0) return [];
  return [
    {
      id: 'pods-of-former-subnets',
      severity: 'error',
      what: `pods have addresses of subnets that this node no longer holds: ${listed(stray.map(strayText))}`,
      cause: 'other nodes do not send to them',
      fix: 'delete the pods, and their successors get addresses of this node',
      pods: each(stray, 'is of a subnet that its node no longer holds'),
    },
  ];
}

/** The pods' addresses outside the networks. */
function outside(pods: readonly LocalPod[], networks: readonly Cidr[], strays: Strays): readonly Stray[] {
  const ofPod = ({ addresses }: LocalPod): Ip[] =>
    addresses.filter((ip) => !networks.some((network) => contains(network, ip)));
  const found = strays.of(pods, networks.join(), ofPod);
  return pods.flatMap((pod, i) => (found[i] ?? []).map((ip) => ({ pod, ip })));
}

function strayText({ pod, ip }: Stray): string {
  return `${podTitle(pod)} (${ip})`;
}

function each(strays: readonly Stray[], whatIsWrong: string): readonly PodProblem[] {
  return strays.map(({ pod, ip }) => aboutPod(pod, `its address ${ip} ${whatIsWrong}`));
}

export function listed(all: readonly string[]): string {
  return (all.length > 4 ? [...all.slice(0, 4), `${all.length - 4} more`] : all).join(', ');
}
