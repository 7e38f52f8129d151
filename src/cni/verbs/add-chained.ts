import { parsePrefixed } from '../../ip/cidr.ts';
import { linkSet } from '../../linux/link/link.ts';
import { CniError, CODE } from '../protocol/error.ts';
import type { Invocation } from '../protocol/invocation.ts';
import { decodeResult } from '../protocol/result.ts';
import { type Attachment, keyOf } from '../records/attachment.ts';
import type { CniState } from '../state.ts';
import { findLink } from '../wiring/links.ts';
import { PodNetns } from '../wiring/pod-netns.ts';
import { newRecord, removeLeftovers, withRecord } from './transaction.ts';

/**
 * ADD chained after the plugin that created the interface: sets the MTU if configured, records the pod, and
 * returns the previous result unchanged.
 */
export async function addChained(call: Invocation, state: CniState): Promise<object> {
  const previous = call.conf.object('prevResult')?.source ?? {};
  const result = decodeResult(previous);
  const mtu = call.conf.integer('mtu', 0, 65535);
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
  const record: Attachment = {
    ...newRecord(key, call, netns.id, state),
    addresses,
    chained: true,
    ...(host ? { hostDevice: host.name } : {}),
  };
  await withRecord(record, state, async () => {
    if (mtu) pod.executeSync(linkSet(link.index, { mtu }));
    return { result, addresses, ...(mtu ? { mtu } : {}) };
  });
  return previous;
}
