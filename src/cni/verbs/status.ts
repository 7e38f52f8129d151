import { rangeSetText } from '../../ipam/ranges.ts';
import { isExhausted } from '../addresses/host-local.ts';
import { isOurs, readInterfaceConf, readIpamConf, roleOf } from '../protocol/conf.ts';
import { CniError, CODE } from '../protocol/error.ts';
import type { Invocation } from '../protocol/invocation.ts';
import type { CniState } from '../state.ts';

/** STATUS: throws CniError 50 while an ADD could not be served: the agent is not ready, or no address is left. */
export function status(call: Invocation, state: CniState): undefined {
  const role = roleOf(call.conf);
  if (role === 'loopback') return;
  const reason = state.context.notReady();
  if (reason) throw new CniError(CODE.NOT_READY, 'the node cannot take pods yet', reason);
  // Blocks are the whole cluster's: whether one more can be had shows when it is needed.
  if (state.context.assigner && (role === 'ipam' || isOurs(call.conf))) return;
  const ipam =
    role === 'ipam' ? readIpamConf(call, state.context) : readInterfaceConf(call, state.context).ipam;
  if (!ipam) return;
  const reserved = state.pools.of(ipam.dir, ipam.sets).list();
  const full = ipam.sets.find((set) =>
    isExhausted(
      set,
      reserved.map(({ ip }) => ip),
    ),
  );
  if (full) throw new CniError(CODE.NOT_READY, 'no addresses left', rangeSetText(full));
}
