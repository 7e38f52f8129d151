import { type HostPort, hostPortText } from '../../cluster/host-port.ts';
import { addressOf, parsePrefixed } from '../../ip/cidr.ts';
import { linkSet } from '../../linux/link/change.ts';
import { familiesOf } from '../addresses/blocks.ts';
import { readBandwidth } from '../capabilities/bandwidth.ts';
import { checkFamilies, readHostPorts } from '../capabilities/host-ports.ts';
import { readTuning } from '../capabilities/tuning.ts';
import { CniError, CODE, unsupported } from '../protocol/error.ts';
import type { Invocation } from '../protocol/invocation.ts';
import { decodeResult } from '../protocol/result.ts';
import { type Attachment, keyOf } from '../records/attachment.ts';
import type { CniState } from '../state.ts';
import { findLink } from '../wiring/links.ts';
import { PodNetns } from '../wiring/pod-netns.ts';
import { tune } from '../wiring/tuning.ts';
import { warnOfBurst } from './bandwidth.ts';
import { evictPortHolders } from './host-ports.ts';
import { assertReady, newRecord, removeLeftovers, withRecord } from './transaction.ts';

/**
 * ADD chained after the plugin that created the interface: applies the settings of the configuration, records
 * the pod, and returns the previous result unchanged.
 */
export async function addChained(call: Invocation, state: CniState): Promise<object> {
  const previous = call.conf.object('prevResult')?.source ?? {};
  const result = decodeResult(previous);
  const mtu = call.conf.integer('mtu', 0, 65535);
  if (call.conf.string('mac'))
    throw unsupported('mac', call.conf.raw('mac'), 'another plugin made the interface');
  const tuning = readTuning(call.conf, call.ifName);
  using netns = PodNetns.open(call.netns, state.netns);
  const pod = netns.link;
  const link = findLink(pod, call.ifName);
  if (!link) {
    throw new CniError(
      CODE.INVALID_CONFIG,
      `prevResult: there is no interface ${call.ifName} in the container`,
    );
  }
  const key = keyOf(call, 'interface');
  await removeLeftovers(key, call, state);
  const own = result.interfaces.findIndex(({ name, sandbox }) => name === call.ifName && sandbox);
  const addresses = result.ips
    .filter((ip) => ip.interface === undefined || own < 0 || ip.interface === own)
    .map(({ address }) => parsePrefixed(address));
  const host = result.interfaces.find(
    ({ name, sandbox }) => !sandbox && findLink(state.link, name)?.kind === 'veth',
  );
  const hostPorts = readHostPorts(call.conf);
  if (hostPorts.length > 0) {
    assertReady(state);
    checkFamilies(hostPorts, addresses.map(addressOf), familiesOf(state.context));
  }
  const bandwidth = readBandwidth(call.conf);
  if (bandwidth) {
    assertReady(state);
    if (!host) throw noVeth('bandwidth', bandwidth);
  }
  const record: Attachment = {
    ...newRecord(key, call, netns.id, state),
    addresses,
    chained: true,
    ...(host ? { hostDevice: host.name } : {}),
    ...(bandwidth && { bandwidth }),
    ...(hostPorts.length > 0 && { hostPorts, leadsVia: leadsVia(host?.name, hostPorts, state) }),
  };
  if (bandwidth) warnOfBurst(bandwidth, record, state);
  await evictPortHolders(record, state);
  await withRecord(record, state, async () => {
    if (mtu) pod.executeSync(linkSet(link.index, { mtu }));
    tune(netns, call.ifName, tuning);
    return { result, addresses, ...(mtu ? { mtu } : {}) };
  });
  return previous;
}

/** The bridge that the host's end is a port of, or that end itself. Throws CniError 2 if there is none. */
function leadsVia(hostEnd: string | undefined, hostPorts: readonly HostPort[], { link }: CniState): string {
  const found = hostEnd === undefined ? undefined : findLink(link, hostEnd);
  if (!found) throw noVeth('portMappings', hostPorts.map(hostPortText));
  const bridge = found.master === undefined ? undefined : findLink(link, found.master);
  return bridge?.name ?? found.name;
}

function noVeth(capability: string, value: unknown): CniError {
  return unsupported(`runtimeConfig.${capability}`, value, 'prevResult names no veth of the node');
}
