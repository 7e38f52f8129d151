import { podTitle } from '../../cluster/node.ts';
import { familyOf } from '../../ip/address.ts';
import { addressOf, type Cidr, cidrOf, lengthOf, type Prefixed } from '../../ip/cidr.ts';
import type { TableId } from '../../linux/nftables/values/table.ts';
import type { Line, Obstacle, Plan } from '../plan.ts';
import type { FoundConf, FoundRules } from './found.ts';
import { isFlannel, type ReservationsMove, SET_ASIDE } from './plan.ts';

/** What the way back to flannel depends on. */
export type FoundBack = {
  readonly isAgentRunning: boolean;
  readonly flanneld: readonly number[];
  /** This node's subnets as flannel's plugin knows them. */
  readonly subnets: readonly Cidr[];
  /** flannel's rules in the kernel. */
  readonly rules: readonly FoundRules[];
  /** Plugins that flannel needs and that are not there, by path. */
  readonly missingPlugins: readonly string[];
  readonly confs: readonly FoundConf[];
  /** Flannel's configurations that a takeover has set aside, by path. */
  readonly setAside: readonly string[];
  /** Path of the configuration to write if none is there. */
  readonly usualConf: string;
  readonly pods: readonly OurPod[];
  /** DELs that the plugin has answered while no agent ran. */
  readonly noted: readonly NotedPod[];
  /** Records that cannot be read, by file. */
  readonly damaged: readonly string[];
  /** Where flannel's plugin keeps its files, and for which containers it has one. */
  readonly scratchDir: string;
  readonly scratch: readonly string[];
  /** Folders: where our pods' reservations are, how many, and where flannel's plugin looks for them. */
  readonly reservations: { readonly dir: string; readonly count: number; readonly flannels: string };
  /** Our nftables tables. */
  readonly tables: readonly TableId[];
};

/** A pod that has a record of ours. */
export type OurPod = {
  readonly containerId: string;
  readonly ifName: string;
  readonly namespace?: string;
  readonly name?: string;
  /** The folder with its reservations; empty if its addresses come from blocks. */
  readonly dir: string;
  readonly addresses: readonly Prefixed[];
  /** Absent for a routed one. */
  readonly bridge?: string;
  readonly mtu: number;
  readonly hasHostPorts: boolean;
};

/** An interface that is deleted but for its addresses, which no agent has freed. */
export type NotedPod = {
  /** The note's. */
  readonly file: string;
  /** The agent's folder, which its record is in. */
  readonly state: string;
  readonly containerId: string;
  readonly ifName: string;
};

/** A line of the plan, with what carries it out. */
export type BackStep =
  | (Line & { readonly action: 'keep' | 'leave' })
  | (Line & { readonly action: 'move'; readonly from: string; readonly to: string })
  | (Line & ReservationsMove)
  | (Line & { readonly action: 'write'; readonly file: string; readonly content: object })
  | (Line & { readonly action: 'remove'; readonly file: string })
  | (Line & { readonly action: 'remove'; readonly noted: NotedPod; readonly dir: string })
  | (Line & { readonly action: 'remove'; readonly table: TableId });

/**
 * What it takes to give the node back to flannel: its plugin learns of our pods before it gets to make any.
 */
export function backPlan(found: FoundBack): Plan<BackStep> {
  const { scratch, confs, tables, noted } = found;
  const pods = found.pods.filter((pod) => !noted.some((each) => isSame(each, pod)));
  const unknown = pods.filter(({ containerId }) => !scratch.includes(containerId));
  const ours = confs.filter(({ types }) => types[0] === 'flatnet');
  const steps: BackStep[] = [
    {
      action: 'keep',
      object: 'pods',
      text: `${pods.length} keep their addresses, and flannel’s plugin frees them`,
    },
    ...noted.map((each) => freed(each, found)),
    ...unknown.map((pod) => scratchFile(pod, found)),
    ...reservationsBack(found.reservations),
    ...configuration(found),
    ...ours.map(
      ({ file }): BackStep => ({ action: 'remove', object: file, text: 'new pods are flannel’s', file }),
    ),
    ...pods
      .filter(({ hasHostPorts }) => hasHostPorts)
      .map(
        (pod): BackStep => ({
          action: 'leave',
          object: titleOf(pod),
          text: 'its host ports end: recreate it',
        }),
      ),
    ...found.damaged.map(
      (object): BackStep => ({
        action: 'leave',
        object,
        text: 'cannot be read: flannel’s plugin will not free its pod’s address',
      }),
    ),
    ...tables.map(
      (table): BackStep => ({
        action: 'remove',
        object: `table ${table.family} ${table.table}`,
        text: 'flannel’s rules are there',
        table,
      }),
    ),
  ];
  return { steps, obstacles: obstacles(found) };
}

/** Nobody else will free it: the agent is not to run here again. */
function freed(noted: NotedPod, { pods, reservations }: FoundBack): BackStep {
  const pod = pods.find((each) => isSame(noted, each));
  const object = `reservations of ${pod ? podTitle(pod) : noted.containerId}`;
  const text = 'the pod was deleted while no agent ran';
  return { action: 'remove', object, text, noted, dir: pod?.dir || reservations.dir };
}

function isSame(noted: NotedPod, { containerId, ifName }: OurPod): boolean {
  return noted.containerId === containerId && noted.ifName === ifName;
}

function titleOf(pod: OurPod): string {
  return `pod ${podTitle(pod)}`;
}

/** flannel's plugin must not give out what our pods have. */
function reservationsBack({ dir, count, flannels }: FoundBack['reservations']): BackStep[] {
  if (count === 0 || dir === flannels) return [];
  const [object, text] = [`reservations in ${dir}`, `${count} to ${flannels}, of flannel’s network`];
  return [{ action: 'move', object, text, reservations: { from: dir, to: flannels } }];
}

function scratchFile(pod: OurPod, { scratchDir, reservations }: FoundBack): BackStep {
  const file = `${scratchDir}/${pod.containerId}`;
  const text = `${file}, by which flannel’s plugin frees it`;
  return { action: 'write', object: titleOf(pod), text, file, content: delegated(pod, reservations) };
}

/** What flannel's plugin would have passed to the plugin bridge: what its DEL repeats. */
function delegated(
  { dir: own, addresses, bridge, mtu }: OurPod,
  { dir: ours, flannels }: FoundBack['reservations'],
): object {
  const dir = own === ours ? flannels : own;
  const slash = dir.lastIndexOf('/');
  return {
    cniVersion: '0.3.1',
    name: dir.slice(slash + 1),
    type: 'bridge',
    bridge,
    mtu,
    isGateway: true,
    isDefaultGateway: true,
    hairpinMode: true,
    ipMasq: false,
    ipam: {
      type: 'host-local',
      dataDir: dir.slice(0, slash),
      ranges: addresses.map((address) => [{ subnet: networkOf(address) }]),
    },
  };
}

function networkOf(address: Prefixed): Cidr {
  return cidrOf(addressOf(address), lengthOf(address));
}

function configuration({ confs, setAside, usualConf }: FoundBack): BackStep[] {
  if (confs.some(isFlannel)) return [];
  const [from] = setAside;
  const object = from === undefined ? usualConf : from.slice(0, -SET_ASIDE.length);
  if (from !== undefined) return [{ action: 'move', object, text: 'as it was', from, to: object }];
  return [{ action: 'write', object, text: 'as flannel’s manifest has it', file: object, content: USUAL }];
}

const USUAL = {
  name: 'cbr0',
  cniVersion: '0.3.1',
  plugins: [
    { type: 'flannel', delegate: { hairpinMode: true, isDefaultGateway: true } },
    { type: 'portmap', capabilities: { portMappings: true } },
  ],
};

/** Whether flanneld's rules take the place of ours: what a takeover has left at the hook forward does not. */
function isMasquerading({ subnets, rules }: FoundBack): boolean {
  const families = new Set(subnets.map((subnet) => (familyOf(subnet) === 6 ? 'ip6' : 'ip')));
  const isIt = ({ chains, leads, size }: FoundRules): boolean =>
    size > 0 && (chains ? chains.includes('FLANNEL-POSTRTG') && leads > 0 : true);
  const has = (family: string): boolean => rules.some((each) => each.family === family && isIt(each));
  return families.size > 0 && [...families].every(has);
}

function obstacles(found: FoundBack): Obstacle[] {
  const { isAgentRunning, flanneld, missingPlugins, pods } = found;
  const hasFlannelsRules = isMasquerading(found);
  const all: Obstacle[] = [];
  const add = (what: string, fix: string): void => void all.push({ what, fix });
  const routed = pods.find(({ bridge, dir }) => bridge === undefined || dir === '');
  if (routed)
    add(
      `${titleOf(routed)} is not on the bridge, or its addresses are not of this node’s subnet`,
      'delete such pods: flannel has no others',
    );
  if (missingPlugins.length > 0)
    add(
      `flannel’s plugins are missing: ${missingPlugins.join(', ')}`,
      'install them: flannel’s image and manifest do',
    );
  if (flanneld.length === 0 && !hasFlannelsRules)
    add('flanneld does not run here', 'start it: it keeps flannel.1 and writes its rules beside ours');
  else if (!hasFlannelsRules)
    add(
      'flanneld has not written its rules',
      'wait, or give it --ip-masq; without, pods would not reach the outside',
    );
  if (isAgentRunning)
    add('flatnet’s agent runs, and would write its tables again', 'stop it; pods keep communicating');
  return all;
}
