import { familyOf } from '../../ip/address.ts';
import { requestedIps } from '../../ipam/requested-ips.ts';
import { blocks } from '../addresses/blocks.ts';
import { readIpamConf } from '../addresses/conf.ts';
import { hostLocal } from '../addresses/host-local.ts';
import type { AddressSource, PodAddress } from '../addresses/source.ts';
import type { CniContext } from '../context.ts';
import type { Invocation } from '../protocol/invocation.ts';
import { decodeRoutes, EMPTY_RESULT, type Result, type RouteConfig } from '../protocol/result.ts';
import { keyOf } from '../records/attachment.ts';
import type { CniState } from '../state.ts';
import { netnsAt } from '../wiring/pod-netns.ts';
import { assertReady, clearTheWay, newRecord, recorded } from './transaction.ts';

/** ADD as another plugin's IPAM delegate: addresses and routes, and no interface. */
export async function addAddresses(call: Invocation, state: CniState): Promise<Result> {
  const { source, named } = sourceFor(call, state.context);
  if (!named) assertReady(state);
  const key = keyOf(call, 'ipam');
  await clearTheWay(key, call, state);
  const record = { ...newRecord(key, call, netnsAt(call.netns) ?? 0, state), ...source.heldBy(key) };
  return await recorded(record, state, async () => {
    const { ips, routes, dns } = await source.take(call, state);
    state.step('addresses reserved');
    // With their gateways: the reference plugins' CHECK does not find routes without.
    const complete = named ? routes : routes.map((route) => withGateway(route, ips));
    return {
      result: { ...EMPTY_RESULT, ips, routes: complete, dns },
      addresses: ips.map(({ address }) => address),
    };
  });
}

/**
 * Where a delegate's addresses come from. `named`: the configuration names its own ranges, which need no
 * agent.
 */
export function sourceFor(
  call: Invocation,
  context: CniContext,
): { readonly source: AddressSource; readonly named: boolean } {
  const conf = readIpamConf(call, context);
  const { assigner } = context;
  if (conf.named || !assigner) return { source: hostLocal(conf), named: conf.named };
  const requested = requestedIps(call.conf.source, call.argsText);
  // No more routes than the configuration names.
  const routes = decodeRoutes(call.conf.object('ipam'));
  return { source: blocks(assigner, { requested, pools: [], routes }), named: false };
}

function withGateway(route: RouteConfig, ips: readonly PodAddress[]): RouteConfig {
  const family = familyOf(route.dst);
  const own = ips.find(({ address, gateway }) => gateway && familyOf(address) === family);
  return { ...(own?.gateway && { gw: own.gateway }), ...route };
}
