import { addressOf } from '../../ip/cidr.ts';
import { familiesOf } from '../addresses/blocks.ts';
import { NO_ADDRESSES } from '../addresses/source.ts';
import { readBandwidth } from '../capabilities/bandwidth.ts';
import { checkFamilies, readHostPorts } from '../capabilities/host-ports.ts';
import { readTuning } from '../capabilities/tuning.ts';
import { roleOf } from '../protocol/conf.ts';
import type { Invocation } from '../protocol/invocation.ts';
import { allowedSources, podIdentity } from '../protocol/pod.ts';
import { encodeResult, type Result } from '../protocol/result.ts';
import { keyOf } from '../records/attachment.ts';
import type { CniState } from '../state.ts';
import { PodNetns } from '../wiring/pod-netns.ts';
import { wiringFor } from '../wiring/registry.ts';
import { tune } from '../wiring/tuning.ts';
import { addAddresses } from './add-addresses.ts';
import { addChained } from './add-chained.ts';
import { warnOfBurst } from './bandwidth.ts';
import { evictPortHolders } from './host-ports.ts';
import { refuseTakenMac } from './taken-mac.ts';
import {
  assertReady,
  checkMasquerade,
  evict,
  newRecord,
  removeLeftovers,
  withRecord,
} from './transaction.ts';

/**
 * ADD: creates a container's interface, assigns addresses for the plugin that creates it, or records an
 * interface created by an earlier plugin in the chain.
 */
export async function add(call: Invocation, state: CniState): Promise<object> {
  if (roleOf(call.conf) === 'ipam') return encodeResult(await addAddresses(call, state), call.version);
  if (call.conf.has('prevResult')) return addChained(call, state);
  return encodeResult(await addInterface(call, state), call.version);
}

async function addInterface(call: Invocation, state: CniState): Promise<Result> {
  const plan = wiringFor(call, state.context).plan(call, state.context);
  const hostPorts = readHostPorts(call.conf);
  const bandwidth = readBandwidth(call.conf);
  const tuning = readTuning(call.conf, call.ifName);
  if (plan.needsAgent || hostPorts.length > 0 || bandwidth) assertReady(state);
  using netns = PodNetns.open(call.netns, state.netns);
  const key = keyOf(call, 'interface');
  await removeLeftovers(key, call, state);
  const identity = podIdentity(call);
  const sources = allowedSources(call.conf, (cidr) => state.context.refusesSource(cidr));
  const hostDevice = plan.hostDevice(key, identity);
  if (hostDevice !== undefined) await evict(hostDevice, key, state);
  const record = {
    ...newRecord(key, call, netns.id, state),
    ...plan.addresses?.heldBy(key),
    ...plan.record,
    ...(hostDevice !== undefined && { hostDevice }),
    ...(sources.length > 0 && { allowedSources: sources }),
    ...(plan.mac && { mac: plan.mac.mac }),
    ...(hostPorts.length > 0 && { hostPorts }),
    ...(bandwidth && { bandwidth }),
  };
  if (bandwidth) warnOfBurst(bandwidth, record, state);
  await evictPortHolders(record, state);
  // Nothing is awaited until the record, which holds the MAC, is on disk.
  if (plan.mac) refuseTakenMac(plan.mac, key, state);
  return await withRecord(record, state, async () => {
    const pod = { key, identity, netns, hostDevice };
    await plan.prepare?.(pod, state);
    const addresses = (await plan.addresses?.take(call, state)) ?? NO_ADDRESSES;
    state.step('addresses reserved');
    const taken = addresses.ips.map(({ address }) => address);
    checkFamilies(hostPorts, taken.map(addressOf), familiesOf(state.context));
    checkMasquerade(call, plan.record.bridge ?? hostDevice ?? key.ifName, taken, state);
    const attached = await plan.attach({ ...pod, addresses }, state);
    tune(netns, key.ifName, tuning);
    state.step('pod configured');
    const { interfaces, ips, routes, mtu, mac } = attached;
    const dns = Object.keys(plan.dns).length > 0 ? plan.dns : addresses.dns;
    return {
      result: { interfaces, ips, routes, dns },
      addresses: ips.map(({ address }) => address),
      mtu,
      borrowed: addresses.borrowed,
      mac,
    };
  });
}
