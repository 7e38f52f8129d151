import { messageOf } from '../../error.ts';
import type { Cidr } from '../../ip/cidr.ts';
import type { Line, Obstacle, Plan } from '../plan.ts';
import { blockText, mapBlock } from './blocks.ts';
import { nodeLines } from './nodes.ts';
import type { CalicoObject } from './object.ts';
import { isOfPolicies, policyPlan } from './policies.ts';
import { isResource, mapResource, resourceText } from './resources.ts';

/** What Calico keeps for itself. */
const OWN: readonly string[] = [
  'ClusterInformation',
  'CalicoNodeStatus',
  'KubeControllersConfiguration',
  'IPAMHandle',
];

/**
 * Says what becomes of a cluster’s Calico objects: pools, BGP and its peers, blocks with the addresses of
 * running pods, nodes, policies. What flatnet does not have is named; if pods depend on it, it is in the way.
 */
export function calicoPlan(objects: readonly CalicoObject[]): Plan {
  const steps: Line[] = [];
  const obstacles: Obstacle[] = [];
  const pools: Cidr[] = [];
  for (const object of objects.filter(isResource)) {
    try {
      const { resource } = mapResource(object);
      if (resource.kind === 'IPPool') pools.push(resource.value.cidr);
      steps.push({ action: 'write', object: object.title, text: resourceText(resource) });
    } catch (error) {
      steps.push({ action: 'leave', object: object.title, text: messageOf(error) });
      obstacles.push({ what: `${object.title} has no counterpart`, fix: messageOf(error) });
    }
  }
  const policies = policyPlan(objects.filter(isOfPolicies));
  const others = objects.filter((each) => !isResource(each) && !isOfPolicies(each));
  for (const found of [...others.map((object) => otherLines(object, pools)), policies]) {
    steps.push(...found.steps);
    obstacles.push(...found.obstacles);
  }
  if (!objects.some(({ kind }) => kind === 'IPPool'))
    obstacles.push({
      what: 'no IPPool found',
      fix: 'name a cluster with Calico’s objects in crd.projectcalico.org, or give all of them with --from',
    });
  if (pools.length > 0)
    steps.unshift({
      action: 'write',
      object: 'network',
      text: `addresses: blocks, wiring: routed, Backend.Type: bgp, for the pools ${pools.join(' ')}${policies.steps.length > 0 ? '; policy: true' : ''}`,
    });
  return { steps, obstacles };
}

function otherLines(object: CalicoObject, pools: readonly Cidr[]): Plan {
  const { kind, title, spec } = object;
  const leave = (text: string): Plan => ({
    steps: [{ action: 'leave', object: title, text }],
    obstacles: [],
  });
  if (OWN.includes(kind)) return leave('Calico’s own');
  if (kind === 'IPAMBlock') {
    const block = attempt(() => mapBlock(object, pools));
    if (typeof block === 'string')
      return { ...leave(block), obstacles: [{ what: `${title} cannot be taken over`, fix: block }] };
    return {
      steps: [{ action: 'adopt', object: `block ${block.cidr}`, text: blockText(block) }],
      obstacles: [],
    };
  }
  if (kind === 'BlockAffinity') {
    const state = spec.raw('state');
    return state === 'confirmed'
      ? { steps: [], obstacles: [] }
      : leave(`its state is ${String(state)}: only blocks that a node holds for certain are taken over`);
  }
  if (kind === 'IPAMConfig' || kind === 'IPAMConfiguration')
    return { steps: [{ action: 'write', object: title, text: ipamText(spec.source) }], obstacles: [] };
  if (kind === 'FelixConfiguration') return felix(title, spec.source);
  if (kind === 'Node') return nodeLines(object);
  return leave('flatnet does not know this kind');
}

function attempt<T>(read: () => T | string): T | string {
  try {
    return read();
  } catch (error) {
    return messageOf(error);
  }
}

const IPAM: readonly string[] = ['strictAffinity', 'maxBlocksPerHost', 'autoAllocateBlocks'];

function ipamText(spec: Readonly<Record<string, unknown>>): string {
  const settings = Object.entries(spec).filter(([key]) => IPAM.includes(key));
  return `flatnet ipam configure: ${settings.map(([key, value]) => `${key} ${JSON.stringify(value)}`).join(', ')}`;
}

/** Data planes that pods depend on. */
const PLANES: readonly string[] = ['wireguardEnabled', 'wireguardEnabledV6', 'bpfEnabled', 'vxlanEnabled'];

function felix(title: string, spec: Readonly<Record<string, unknown>>): Plan {
  const planes = PLANES.filter((key) => spec[key] === true);
  const keys = Object.keys(spec).toSorted().join(', ') || 'nothing';
  return {
    steps: [{ action: 'leave', object: title, text: `Felix’s settings have no counterpart: ${keys}` }],
    obstacles: planes.map((key) => ({
      what: `${title} has ${key}, which flatnet lacks`,
      fix: 'change that in Calico first',
    })),
  };
}
