import type { LocalPod } from '../../cluster/node.ts';
import { type Cidr, contains } from '../../ip/cidr.ts';
import type { Line, Obstacle, Plan } from '../plan.ts';
import type { Found, FoundConf, FoundRules } from './found.ts';
import { type Adoption, matchPods } from './pods.ts';

/** Appended to the name of flannel's configuration: runtimes read no such file, and the way back needs it. */
export const SET_ASIDE = '.before-flatnet';

/** From one folder of host-local's to another: networks do not see each other's there. */
export type ReservationsMove = {
  readonly action: 'move';
  readonly reservations: { readonly from: string; readonly to: string };
};

/** A line of the plan, with what carries it out. */
export type Step =
  | (Line & { readonly action: 'keep' | 'leave' })
  | (Line & { readonly action: 'move'; readonly from: string; readonly to: string })
  | (Line & ReservationsMove)
  | (Line & { readonly action: 'adopt'; readonly pod: Adoption })
  | (Line & { readonly action: 'remove'; readonly rules: FoundRules });

/**
 * What it takes to make flannel's node one of ours. New pods are ours first, so that none slips through while
 * the old ones are adopted; flannel's rules go last, when ours have long been there.
 */
export function takeoverPlan(found: Found): Plan<Step> {
  const pods = matchPods(found);
  const steps: Step[] = [
    ...standing(found),
    ...found.confs.filter(isFlannel).map(setAside),
    ...reservationMoves(found),
    ...pods.known.map((object): Step => ({ action: 'keep', object: `pod ${object}`, text: 'has a record' })),
    ...pods.adoptions.map(adopted),
    ...pods.left.map(({ object, why }): Step => ({ action: 'leave', object, text: why })),
    ...found.rules.map((rules) => withoutRules(rules, found, pods.adoptions)),
    ...found.unread.map((text): Step => ({ action: 'leave', object: 'unread', text })),
  ];
  return { steps, obstacles: obstacles(found) };
}

/** What stays as it is. */
function standing({ subnets, agent, devices, bridge, scratch }: Found): Step[] {
  const keep = (object: string, text: string): Step => ({ action: 'keep', object, text });
  return [
    ...subnetsOf(subnets, agent?.subnets).map((subnet) => keep(`lease ${subnet}`, 'stays this node’s')),
    ...devices.map(({ name, kind, mac, vni, port }) =>
      keep(
        `device ${name}`,
        kind === 'vxlan' ? `VXLAN ${vni} on port ${port}, with its MAC ${mac}` : `of the kind ${kind}`,
      ),
    ),
    ...(bridge ? [keep(`bridge ${bridge.name}`, `with its addresses ${bridge.addresses.join(' ')}`)] : []),
    ...(scratch.length > 0
      ? [keep('files of flannel’s plugin', `of ${scratch.length} pods, for the way back`)]
      : []),
  ];
}

function subnetsOf(flannels: readonly Cidr[], ours: readonly Cidr[] = []): readonly Cidr[] {
  return flannels.length > 0 ? flannels : ours;
}

export function isFlannel({ types }: FoundConf): boolean {
  return types.includes('flannel');
}

function setAside({ file }: FoundConf): Step {
  const to = `${file}${SET_ASIDE}`;
  return { action: 'move', object: file, text: `to ${to}: new pods are flatnet’s`, from: file, to };
}

/** Of a network that is not named as ours: our plugin is to free them, and flannel's makes no more. */
function reservationMoves({ reservations, ourReservations }: Found): Step[] {
  const strange = reservations.filter(({ dir }) => dir !== ourReservations);
  return [...Map.groupBy(strange, ({ dir }) => dir)].map(([from, all]) => ({
    action: 'move',
    object: `reservations in ${from}`,
    text: `${all.length} to ${ourReservations}, where flatnet frees them`,
    reservations: { from, to: ourReservations },
  }));
}

function adopted(pod: Adoption): Step {
  const { namespace, name, containerId, addresses, hostDevice, mac, shownMac, isMacCertain, isNew } = pod;
  const { hostPorts, isLimited } = pod;
  const object = `pod ${namespace && name ? `${namespace}/${name}` : containerId}`;
  const ports = hostPorts.map(({ hostPort, protocol }) => `${hostPort}/${protocol}`).join(' ');
  const text = [
    `${addresses.join(' ')} at ${hostDevice}: gets a record, and may only send from ${mac}`,
    isMacCertain ? '' : ', which nothing but the pod says is its own',
    shownMac === mac ? '' : ` as it was made, though it shows ${shownMac} now`,
    ports && `, with the host ports ${ports}`,
    isLimited ? '; its bandwidth stays as the plugin has set it' : '',
  ].join('');
  const first = isNew ? 'when its ADD is over: ' : '';
  return { action: 'adopt', object, text: `${first}${text}`, pod };
}

function withoutRules(rules: FoundRules, found: Found, adoptions: readonly Adoption[]): Step {
  const { family, table, chains, leads, needed, container } = rules;
  const place = [family, table, ...(chains ?? [])].join(' ');
  const object = `${chains ? 'rules' : 'table'} ${place}${rules.comment === undefined ? '' : ` of ${rules.comment}`}`;
  if (needed !== undefined) return { action: 'leave', object, text: `pods need it: ${needed}` };
  if (container !== undefined) return withoutHostPorts({ ...rules, container }, object, found, adoptions);
  const text = chains
    ? `with what leads there (${leads}): flatnet’s tables do the same`
    : 'flatnet’s do the same';
  return { action: 'remove', object, text, rules };
}

/** portmap's rules go when a record has their ports, or nobody is left whose they could be. */
function withoutHostPorts(
  rules: FoundRules & { readonly container: string },
  object: string,
  found: Found,
  adoptions: readonly Adoption[],
): Step {
  const { container } = rules;
  const hasPorts = ({ containerId, hostPorts = [] }: Pick<LocalPod, 'containerId' | 'hostPorts'>): boolean =>
    containerId === container && hostPorts.length > 0;
  if (found.agent?.pods.some(hasPorts)) {
    const text = `host ports of ${container}: flatnet’s tables lead them to it`;
    return { action: 'remove', object, text, rules };
  }
  if (adoptions.some(hasPorts)) {
    const text = `host ports of ${container}: go once its record has them`;
    return { action: 'keep', object, text };
  }
  // Rules with nothing but a container may be another network's.
  const isAttached = found.resultFiles.some((name) => name.includes(`-${container}-`));
  const isOthers = rules.comment !== undefined && (isAttached || found.confs.some(hasOtherPortmap));
  if (isGone(container, found) && isOthers)
    return { action: 'leave', object, text: `host ports of ${container}, which is none of flannel’s pods` };
  if (isGone(container, found))
    return { action: 'remove', object, text: `host ports of ${container}, which is gone`, rules };
  const text = `host ports of ${container}, of which flatnet’s records know none: recreate that pod`;
  return { action: 'leave', object, text };
}

function hasOtherPortmap(conf: FoundConf): boolean {
  return conf.types.includes('portmap') && !isFlannel(conf);
}

/** Whether a container has certainly nothing here any more. */
function isGone(container: string, { agent, reservations, results, unread }: Found): boolean {
  if (unread.length > 0 || reservations.some(({ containerId }) => containerId === '')) return false;
  return ![...(agent?.pods ?? []), ...reservations, ...results].some(
    ({ containerId }) => containerId === container,
  );
}

/** The kinds of flannel's devices that an agent keeps, or for udp makes anew. */
const KINDS: readonly string[] = ['vxlan', 'tun'];

/** What must be otherwise before anything is changed. */
function obstacles(found: Found): Obstacle[] {
  const { agent, flanneld, devices, confs, subnets, reservations, ports } = found;
  const all: Obstacle[] = [];
  const add = (what: string, fix: string): void => void all.push({ what, fix });
  const foreign = devices.find(({ kind }) => !KINDS.includes(kind));
  if (foreign)
    add(
      `flannel’s device ${foreign.name} (${foreign.kind}) cannot be taken over`,
      'change flannel’s backend to vxlan, host-gw or udp first',
    );
  for (const { file, problem } of confs)
    if (problem !== undefined) add(`${file} cannot be read: ${problem}`, 'mend or remove it');
  for (const { file, delegate } of confs) {
    if (delegate && delegate.type !== 'bridge')
      add(
        `flannel’s pods are made by the plugin ${delegate.type}, says ${file}`,
        'only pods on a bridge can be adopted',
      );
    else if (delegate && delegate.bridge !== BRIDGE)
      add(
        `flannel’s pods are on the bridge ${delegate.bridge}, says ${file}`,
        `flatnet’s bridge is ${BRIDGE}`,
      );
  }
  const unnamed = confs.find((conf) => isFlannel(conf) && !isNetworkName(conf.name));
  if (unnamed)
    add(
      `flannel’s network is named '${unnamed.name}', says ${unnamed.file}: no runtime accepts that`,
      'name it: its pods’ reservations are in the folder of that name',
    );
  const first = confs.find(
    ({ file, types }) => types.length > 0 && nameOf(file) < CONF_LIST && !types.includes('flannel'),
  );
  if (first) add(`the runtime reads ${first.file} instead of flatnet’s`, 'remove it if that network is gone');
  const own = agent && agent.notReady === undefined ? agent.subnets : subnets;
  const astray =
    own.length > 0 ? reservations.find(({ ip }) => !own.some((subnet) => contains(subnet, ip))) : undefined;
  if (astray)
    add(
      `${astray.ip}, reserved for ${astray.containerId || 'a pod'}, is of none of this node’s subnets`,
      'delete pods of former subnets, and let the agent have the lease that flannel had (the same address of the node)',
    );
  if (reservations.length > 0 && ports.length > 0 && ports.every(({ inside }) => !inside))
    add(
      `none of the pods at ${BRIDGE} is in sight`,
      'run it where the namespaces of pods are: in the agent’s pod or on the node itself',
    );
  if (flanneld.length > 0)
    add(
      `flanneld runs (pid ${flanneld.join(', ')}), and would write its rules again`,
      'stop it (systemctl disable --now flanneld, or delete its DaemonSet); pods keep communicating',
    );
  if (!agent) add('flatnet’s agent does not run here', 'start it: docs/from-flannel.md');
  else if (agent.notReady !== undefined)
    add(`flatnet’s agent takes no pods: ${agent.notReady}`, 'see flatnet status');
  else if (!confs.some(({ types }) => types.includes('flatnet')))
    add(`${CONF_LIST} is not there yet`, 'wait: the agent writes it when it is ready');
  return all;
}

/** The agent's own configuration; runtimes read the first file by name. */
const CONF_LIST = '10-flatnet.conflist';

/** As CNI allows. */
export function isNetworkName(name: string): boolean {
  return /^[A-Za-z0-9][A-Za-z0-9_.-]*$/.test(name);
}

function nameOf(file: string): string {
  return file.slice(file.lastIndexOf('/') + 1);
}

/** The bridge of the reference plugin `bridge`, and ours. */
export const BRIDGE = 'cni0';
