import type { Fields } from '../fields.ts';
import type { BgpPeer } from '../resources.ts';
import { type Fixed, parsed, refuseOthers, text, word } from './spec.ts';
import { asNumber, peerAddress, seconds, secret, selector } from './values.ts';

/** Maximum restart time in seconds: twelve bits (RFC 4724 §3). */
const MAX_RESTART = 4095;
/** Maximum keepalive time in seconds: a third of the longest hold time (RFC 4271 §4.2, §4.4). */
const MAX_KEEPALIVE = 21_845;

const FIELDS = [
  'node',
  'nodeSelector',
  'peerIP',
  'asNumber',
  'peerSelector',
  'localASNumber',
  'nextHopMode',
  'keepOriginalNextHop',
  'password',
  'sourceAddress',
  'maxRestartTime',
  'keepaliveTime',
  'numAllowedLocalASNumbers',
  'ttlSecurity',
  'bfd',
  'filters',
];

const FIXED: Readonly<Record<string, Fixed>> = {
  reversePeering: {
    only: ['Auto'],
    why: 'nodes matching a peerSelector peer back automatically; leave it out',
  },
  reachableBy: { only: [], why: 'a peer is reached through the node’s own routes; add a route on the node' },
  localWorkloadSelector: { only: [], why: 'pods cannot be BGP peers' },
};

export function readBgpPeer(name: string, spec: Fields): BgpPeer {
  refuseOthers(spec, FIELDS, FIXED);
  const peerAt = parsed(spec, 'peerIP', peerAddress);
  const peer = {
    name,
    ...present('node', text(spec, 'node')),
    ...present('nodeSelector', parsed(spec, 'nodeSelector', selector)),
    ...present('peerIp', peerAt?.ip),
    ...present('port', peerAt?.port),
    ...present('asNumber', asNumber(spec, 'asNumber')),
    ...present('peerSelector', parsed(spec, 'peerSelector', selector)),
    ...present('localAsNumber', asNumber(spec, 'localASNumber')),
    nextHopMode: nextHopMode(spec),
    ...present('password', secret(spec, 'password')),
    sourceAddress: word(spec, 'sourceAddress', ['UseNodeIP', 'None'] as const) ?? 'UseNodeIP',
    ...present('maxRestartTime', seconds(spec, 'maxRestartTime', MAX_RESTART)),
    ...present('keepaliveTime', seconds(spec, 'keepaliveTime', MAX_KEEPALIVE)),
    ...present('numAllowedLocalAsNumbers', spec.integer('numAllowedLocalASNumbers', 0, 100)),
    ...present('ttlSecurity', spec.integer('ttlSecurity', 0, 255) || undefined),
    bfd: spec.boolean('bfd') ?? false,
    filters: spec.parsedList('filters', (filter) => filter) ?? [],
  };
  checkEnds(spec, peer);
  return peer;
}

function checkEnds(spec: Fields, { node, nodeSelector, peerIp, peerSelector, asNumber }: BgpPeer): void {
  if (node !== undefined && nodeSelector !== undefined) {
    throw spec.invalid('nodeSelector', 'conflicts with node; set only one of them');
  }
  if (peerIp !== undefined && peerSelector !== undefined) {
    throw spec.invalid('peerSelector', 'conflicts with peerIP; set only one of them');
  }
  if (peerIp === undefined && peerSelector === undefined) {
    throw spec.invalid('peerIP', 'is missing; write the address of a router, or a peerSelector for nodes');
  }
  if (peerIp !== undefined && asNumber === undefined) {
    throw spec.invalid('asNumber', `is missing: set it to that of the router at ${peerIp}`);
  }
  if (peerSelector !== undefined && asNumber !== undefined) {
    throw spec.invalid('asNumber', "conflicts with peerSelector; a node's AS number is set on the node");
  }
}

/** `keepOriginalNextHop` is the older spelling of Keep. */
function nextHopMode(spec: Fields): BgpPeer['nextHopMode'] {
  const mode = word(spec, 'nextHopMode', ['Auto', 'Self', 'Keep'] as const);
  if (spec.boolean('keepOriginalNextHop') !== true) return mode ?? 'Auto';
  if (mode === undefined || mode === 'Keep') return 'Keep';
  throw spec.invalid('keepOriginalNextHop', `contradicts nextHopMode ${mode}; leave it out`);
}

function present<K extends string, V>(key: K, value: V | undefined): { [P in K]?: V } {
  return value === undefined ? {} : ({ [key]: value } as { [P in K]?: V });
}
