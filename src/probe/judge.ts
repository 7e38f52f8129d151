import type { Carrier } from '../backends/backend.ts';
import { type Answer, type Echoes, type Evidence, lossOf } from './evidence.ts';
import type { PathReport } from './report.ts';
import type { Target, Untestable } from './target.ts';

/** Packets that may get lost in a probe without a word: a busy host may be late once. */
const TOLERATED = 1;
const NONE = { sent: 0, answered: 0 };

export function isSilent({ small, full }: Echoes): boolean {
  return small.answered === 0 && full.answered === 0;
}

/** Whether it is the size that matters: chance alone would not choose like that. */
export function isTooNarrow({ small, full }: Echoes): boolean {
  return full.answered === 0 && 2 * small.answered > small.sent;
}

function lostOf({ small, full }: Echoes): number {
  return small.sent - small.answered + full.sent - full.answered;
}

/** What the evidence says about the path. Pure: the same evidence always leads to the same words. */
export function judge(target: Target, evidence: Evidence): PathReport {
  const { path, host } = evidence;
  const measured = path ?? host;
  const common: Omit<PathReport, 'state'> = {
    peer: target.peer,
    family: target.family,
    host: target.host,
    carrier: carrierText(target.carrier),
    ...(measured && { loss: lossOf(measured) }),
    ...(evidence.others && { others: evidence.others }),
  };
  if (!path) return relevant({ ...common, ...withoutAddress(target, evidence) });
  if (path.refusal !== undefined && path.refusal !== 'EPERM') {
    const what = `${target.peer}: this node cannot send to its pods: ${path.refusal}`;
    return { ...common, state: 'blocked', what, fix: 'see what is missing on this node: flatnet diff' };
  }
  if (isSilent(path)) return relevant({ ...common, ...silence(target, evidence) });
  const { pathMtu } = evidence;
  if (isTooNarrow(path) && pathMtu !== undefined) {
    // The small ones tell how many are lost by chance.
    const loss = lossOf({ small: path.small, full: NONE });
    return { ...common, ...narrowness(target, evidence, pathMtu), loss };
  }
  const passed = { ...common, ...(path.full.answered > 0 && { mtu: target.mtu }) };
  if (lostOf(path) <= TOLERATED) return { ...passed, state: 'well' };
  return { ...passed, ...looseness(target, evidence, path) };
}

/** Numbers that say nothing of the way to pods are left out. */
function relevant(report: PathReport): PathReport {
  if (report.state !== 'untested') return report;
  const { loss: _, others: __, ...rest } = report;
  return rest;
}

/** Of a peer that there is nothing to ask about. */
export function untested({ peer, family, why }: Untestable): PathReport {
  return { peer, family, state: 'untested', what: `${peer} cannot be tested in IPv${family}`, cause: why };
}

type Verdict = Pick<PathReport, 'state' | 'what' | 'cause' | 'fix' | 'mtu'>;

/** Nothing inside the peer answers by itself: what is known of its host has to do. */
function withoutAddress(target: Target, evidence: Evidence): Verdict {
  const { host } = evidence;
  const { peer, carrier } = target;
  if (host === undefined || isSilent(host)) return down(target, evidence);
  // Plain routes lead through the very host, so it stands for them.
  const { hostMtu } = evidence;
  if (carrier === 'routes' && hostMtu !== undefined) return narrowness(target, evidence, hostMtu);
  if (carrier === 'routes' && lostOf(host) > TOLERATED) return looseness(target, evidence, host);
  const size = carrier === 'routes' ? `, also to packets of ${target.mtu} bytes` : '';
  const what = `${peer} answers at ${target.host}${size}, but the way to its pods cannot be tested`;
  const cause = 'with routed pods, no address of its kernel’s own is known there';
  return { state: 'untested', what, cause };
}

function silence(target: Target, evidence: Evidence): Verdict {
  const { peer, carrier } = target;
  const { host, carrier: answer, hasArrived, others = [] } = evidence;
  if (hasArrived) {
    const what = `${peer} gets packets for its pods, but has no address of its own there`;
    return { state: 'untested', what, cause: 'flanneld gives it one with the first pod' };
  }
  const isHeard = host !== undefined && !isSilent(host);
  const isThere = isHeard || typeof answer === 'object' || others.length > 0;
  if (!isThere && answer !== 'refused') return down(target, evidence);
  const what =
    carrier === 'routes'
      ? `${peer} ${isHeard ? 'answers' : 'is there'} at ${target.host}, but not at its pods’ addresses`
      : `${peer} does not answer through the tunnel, ${carrierText(carrier)}${over(target)}`;
  return {
    state: 'blocked',
    what,
    cause: blockage(target, answer, isHeard),
    fix: remedy(target, answer, others),
  };
}

function blockage({ peer, host, carrier }: Target, answer: Answer | undefined, isHeard: boolean): string {
  const packets = carrierText(carrier);
  if (carrier === 'routes') {
    return 'the network between the nodes drops packets to and from addresses that are not hosts’, or the peer does not forward';
  }
  if (answer === 'refused') return `this node’s own firewall drops ${packets} to ${host}`;
  if (typeof answer === 'object') {
    return 'unwanted' in answer
      ? `nothing on ${peer} receives ${packets}, or its firewall rejects it`
      : `${answer.forbidden} forbids ${packets}`;
  }
  const known = isHeard ? `its host answers at ${host}` : `its host answers other packets to ${host}`;
  return `${known}, so something between the nodes, or a firewall on one of them, drops ${packets}`;
}

function remedy({ peer, carrier }: Target, answer: Answer | undefined, others: readonly string[]): string {
  const allow = `allow ${carrierText(carrier)} between all nodes`;
  const first =
    carrier === 'routes'
      ? 'allow the pods’ network between the nodes (in a cloud: switch off the check of source and destination)'
      : typeof answer === 'object' && 'unwanted' in answer
        ? `look at flatnet status on ${peer}; ${allow}`
        : allow;
  if (others.length === 0) return first;
  return `${first}; or change the backend: packets of ${listed(others)} do reach ${peer}`;
}

/** The plainest first, and no more than a line holds. */
function listed(types: readonly string[]): string {
  const [last, ...rest] = [...types]
    .sort((a, b) => Number(b === 'host-gw') - Number(a === 'host-gw'))
    .slice(0, 3)
    .reverse();
  return rest.length === 0 ? `${last}` : `${rest.reverse().join(', ')} and ${last}`;
}

function narrowness(target: Target, { host: beside, hostMtu }: Evidence, mtu: number): Verdict {
  const { peer, host, dev, overhead, hasMtuOption, underlayMtu } = target;
  // Some switches let a few bytes more pass, and the underlay's number is the one that people know.
  const right = Math.min(mtu + overhead, hostMtu ?? underlayMtu);
  const passing = right - overhead;
  const what = `${peer} gets packets of up to ${passing} bytes${over(target)}, and pods send ${target.mtu}`;
  const needed = target.mtu + overhead;
  const isWide = beside !== undefined && beside.full.answered > 0;
  const cause = isWide
    ? `packets of ${needed} bytes reach ${host} outside the tunnel, so it is the tunnel’s that are lost`
    : `the underlay carries ${right} bytes to ${host}, not ${needed}`;
  const lower =
    overhead > 0 && hasMtuOption
      ? `set Backend.MTU to ${right}`
      : `lower the MTU of ${dev} to ${right} on every node`;
  return {
    state: 'narrow',
    mtu: passing,
    what,
    cause,
    fix: `raise the MTU on the way to ${needed}, or ${lower}`,
  };
}

function looseness(target: Target, evidence: Evidence, path: Echoes): Verdict {
  const { peer, host, carrier } = target;
  const what = `${percent(lossOf(path))} of the packets to ${peer} and back are lost${over(target)}`;
  const beside = evidence.host && lossOf(evidence.host);
  const isUnderlay = beside !== undefined && beside > lossOf(path) / 3;
  const cause =
    beside === undefined || carrier === 'routes'
      ? undefined
      : isUnderlay
        ? `the underlay itself loses ${percent(beside)} on the way to ${host}`
        : `beside the tunnel, ${percent(beside)} are lost on the way to ${host}: what drops them sees ${carrierText(carrier)}`;
  const fix = 'look at the link, its error counters and the load of both hosts';
  return { state: 'lossy', what, ...(cause !== undefined && { cause }), fix };
}

function down({ peer, host, dev }: Target, { isAbsent }: Evidence): Verdict {
  const cause = isAbsent
    ? `no machine on ${dev} has this address`
    : 'it is off or cut off, or a firewall drops pings and the pods’ packets alike';
  return {
    state: 'down',
    what: `${peer} does not answer at ${host}`,
    cause,
    fix: `start it and look at its link; if it is gone for good: flatnet forget ${peer}`,
  };
}

/** A peer may be in trouble in one of two families. */
function over({ family }: Target): string {
  return family === 6 ? ' over IPv6' : '';
}

function percent(share: number): string {
  return `${Math.round(100 * share)} %`;
}

const PROTOCOLS: Readonly<Record<number, string>> = { 4: 'IPIP', 41: 'IPv6 in IPv6', 47: 'GRE' };

/** What a firewall has to know of a carrier. */
export function carrierText(carrier: Carrier): string {
  if (carrier === 'routes') return 'plain routes';
  if ('udp' in carrier) return `UDP ${carrier.udp}`;
  const { protocol } = carrier;
  const name = PROTOCOLS[protocol];
  return name === undefined ? `IP protocol ${protocol}` : `${name} (IP protocol ${protocol})`;
}
