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
import { assertReady, newRecord, removeLeftovers, withRecord } from './transaction.ts';

/** ADD as another plugin's IPAM delegate: returns addresses and routes, without an interface. */
export async function addAddresses(call: Invocation, state: CniState): Promise<Result> {
  const { source, named } = sourceFor(call, state.context);
  if (!named) assertReady(state);
  const key = keyOf(call, 'ipam');
  await removeLeftovers(key, call, state);
  const record = { ...newRecord(key, call, netnsAt(call.netns) ?? 0, state), ...source.heldBy(key) };
  return await withRecord(record, state, async () => {
    const { ips, routes, dns } = await source.take(call, state);
    state.step('addresses reserved');
    // With gateways: the reference plugins' CHECK does not find routes without one.
    const complete = named ? routes : routes.map((route) => withGateway(route, ips));
    return {
      result: { ...EMPTY_RESULT, ips, routes: complete, dns },
      addresses: ips.map(({ address }) => address),
    };
  });
}

/**
 * The source of a delegate's addresses. `named`: the configuration names its own ranges, so that the agent
 * need not be ready.
 */
export function sourceFor(
  call: Invocation,
  context: CniContext,
): { readonly source: AddressSource; readonly named: boolean } {
  const conf = readIpamConf(call, context);
  const { assigner } = context;
  if (conf.named || !assigner) return { source: hostLocal(conf), named: conf.named };
  const requested = requestedIps(call.conf.source, call.argsText);
  // Only the routes named in the configuration.
  const routes = decodeRoutes(call.conf.object('ipam'));
  return { source: blocks(assigner, { requested, pools: [], routes }), named: false };
}

function withGateway(route: RouteConfig, ips: readonly PodAddress[]): RouteConfig {
  const family = familyOf(route.dst);
  const own = ips.find(({ address, gateway }) => gateway && familyOf(address) === family);
  return { ...(own?.gateway && { gw: own.gateway }), ...route };
}
