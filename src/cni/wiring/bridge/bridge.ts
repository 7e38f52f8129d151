import { FlatnetError } from '../../../error.ts';
import { familyOf } from '../../../ip/address.ts';
import {
  addressOf,
  type Cidr,
  cidrOf,
  lengthOf,
  overlaps,
  type Prefixed,
  prefixed,
} from '../../../ip/cidr.ts';
import { type Mac, macFromBytes } from '../../../ip/mac.ts';
import { addressDelete, addressDump } from '../../../linux/address.ts';
import { linkAdd, linkSet } from '../../../linux/link/change.ts';
import type { Link } from '../../../linux/link/link.ts';
import { writeSysctl } from '../../../linux/sysctl.ts';
import type { PodAddress } from '../../addresses/source.ts';
import { CniError, CODE } from '../../protocol/error.ts';
import type { CniState } from '../../state.ts';
import { findLink } from '../links.ts';
import { assignAddress } from '../pod-end.ts';
import type { BridgeConf } from './conf.ts';

/**
 * Returns the bridge for a pod. The agent's own must exist. A bridge named by a configuration for the
 * reference plugin is created if missing and configured for `isGateway`.
 */
export function ensureBridge(conf: BridgeConf, ips: readonly PodAddress[], state: CniState): Link {
  if (conf.ownBridge) {
    const bridge = findLink(state.link, conf.bridge);
    if (bridge) return bridge;
    throw new CniError(CODE.TRY_AGAIN, 'the node cannot take pods yet', `${conf.bridge} does not exist`);
  }
  const bridge = findOrCreate(conf, state);
  const promisc = conf.promisc ? true : undefined;
  if (!bridge.up || promisc) state.link.executeSync(linkSet(bridge.index, { up: true, promisc }));
  if (conf.isGateway && ips.length > 0) {
    for (const { address, gateway } of ips) {
      if (gateway) ensureGateway(conf, bridge, prefixed(gateway, lengthOf(address)), state);
    }
    state.inNode(() => {
      const families = new Set(ips.map(({ address }) => familyOf(address)));
      if (families.has(4)) writeSysctl('net/ipv4/ip_forward', 1);
      if (families.has(6)) writeSysctl('net/ipv6/conf/all/forwarding', 1);
    });
  }
  return bridge;
}

function findOrCreate(conf: BridgeConf, state: CniState): Link {
  const name = conf.bridge;
  const existing = findLink(state.link, name);
  if (existing && existing.kind !== 'bridge') {
    throw new CniError(CODE.INVALID_CONFIG, `"${name}" already exists but is not a bridge`);
  }
  if (existing) return existing;
  try {
    // An explicit MAC is kept; otherwise the bridge uses its ports' lowest and changes it as ports come and
    // go.
    state.link.executeSync(
      linkAdd({ name, mtu: conf.mtu, mac: randomMac(), up: true, data: { kind: 'bridge' } }),
    );
  } catch (error) {
    // Another plugin may have been faster.
    if (!(error instanceof FlatnetError) || error.errno !== 'EEXIST') throw error;
  }
  const created = findLink(state.link, name);
  if (created?.kind === 'bridge') return created;
  throw new CniError(CODE.INTERNAL, `the bridge "${name}" vanished while being created`);
}

/**
 * Sets the gateway's address on the bridge. Another address in an overlapping network is an error, unless
 * `forceAddress` removes it.
 */
function ensureGateway(conf: BridgeConf, bridge: Link, wanted: Prefixed, state: CniState): void {
  const network = (text: Prefixed): Cidr => cidrOf(addressOf(text), lengthOf(text));
  const present = state.link
    .dumpSync(addressDump(familyOf(wanted), bridge.index))
    .map((entry) => entry.address);
  if (present.includes(wanted)) return;
  // IPv6 has the kernel's link-local address and often others; only one in the same network conflicts.
  const rivals = present.filter(
    (other) => familyOf(other) === 4 || overlaps(network(other), network(wanted)),
  );
  if (rivals.length > 0 && !conf.forceAddress) {
    const text = `"${bridge.name}" already has an IP address different from ${wanted}`;
    throw new CniError(CODE.INTERNAL, `failed to set bridge addr: ${text}`, rivals.join(', '));
  }
  state.link.executeSync([
    ...rivals.map((rival) => addressDelete({ dev: bridge.index, address: rival })),
    assignAddress(bridge.index, wanted),
  ]);
}

function randomMac(): Mac {
  const bytes = crypto.getRandomValues(new Uint8Array(6));
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02;
  return macFromBytes(bytes);
}
