import type { BridgePort } from '../../linux/link/bridge.ts';
import { words } from '../kind.ts';

/** The settings of a port that the kernel has otherwise; undefined for none. One that it lacks is right. */
export function wrongPortSettings(actual: BridgePort = {}, wanted: BridgePort = {}): BridgePort | undefined {
  const present = new Map<string, unknown>(Object.entries(actual));
  const wrong = Object.entries(wanted).filter(([name, value]) => (present.get(name) ?? value) !== value);
  return wrong.length === 0 ? undefined : Object.fromEntries(wrong);
}

/** A port gets its state from the kernel as soon as it has a carrier. */
export function withoutPortState(port: BridgePort | undefined): BridgePort | undefined {
  if (!port) return undefined;
  const { forwarding: _, ...settings } = port;
  return settings;
}

/** The options of `ip link set … type bridge_slave`, in the order in which they are shown. */
const PORT_OPTIONS: Readonly<Record<keyof BridgePort, string>> = {
  forwarding: 'state',
  hairpin: 'hairpin',
  learning: 'learning',
  flood: 'flood',
  multicastFlood: 'mcast_flood',
  broadcastFlood: 'bcast_flood',
  isolated: 'isolated',
  locked: 'locked',
  neighbourSuppression: 'neigh_suppress',
  proxyArp: 'proxy_arp',
  bpduGuard: 'guard',
  rootBlock: 'root_block',
  vlanTunnel: 'vlan_tunnel',
};

/** Like `ip link set NAME type bridge_slave …`. */
export function portCommand(name: string, port: BridgePort): string {
  const values = new Map<string, unknown>(Object.entries(port));
  const options = Object.entries(PORT_OPTIONS).flatMap(([each, option]) => {
    const value = values.get(each);
    if (value === undefined) return [];
    return [option === 'state' ? 'state 3' : `${option} ${value ? 'on' : 'off'}`];
  });
  return words('ip link set', name, 'type bridge_slave', ...options);
}
