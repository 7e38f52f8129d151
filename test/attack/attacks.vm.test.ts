import { execFileSync } from 'node:child_process';
import { NO_KERNEL } from '../state/namespace.ts';
import { guarded } from './suite.ts';

/*
 * All attacks again on a stock Debian kernel, where they must have no effect; that they have one without the
 * guard is shown by attacks.net.test.ts, and would take an emulated machine minutes.
 */
const HERE = !process.env.FLATNET_EMULATED && 'attacks.net.test.ts runs on this kernel';

if (process.env.FLATNET_EMULATED) {
  // At once: on demand, each takes an emulated machine a second or two of the first tables' time.
  const tables = ['nf_tables', 'nft_chain_nat', 'nft_masq', 'nft_nat', 'nft_redir', 'nft_ct', 'nft_limit'];
  const others = ['nft_fib_ipv4', 'nft_fib_ipv6', 'nft_meta_bridge', 'bridge', 'vxlan', 'veth'];
  execFileSync('modprobe', ['-a', ...tables, ...others]);
}
// Routed pods' guard is less, and the same tables.
guarded('bridge', undefined, NO_KERNEL || HERE);
