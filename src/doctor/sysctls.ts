import { IPIP_DEVICE } from '../backends/bgp-tunnel.ts';
import type { Network } from '../cluster/network.ts';
import type { Underlay } from '../cluster/node.ts';
import { isShim } from '../wiring/shim.ts';
import { type Finding, note, ok, wrong } from './finding.ts';

export type SysctlFacts = {
  readonly network: Network | undefined;
  readonly underlay: Underlay | undefined;
  /** Names of all devices of this node. */
  readonly devices: readonly string[];
  /** The value at a path below /proc/sys; undefined if there is none. */
  readonly read: (path: string) => string | undefined;
};

/** Settings of the host without which packets between pods get lost. */
export function sysctlFindings(facts: SysctlFacts): Finding[] {
  return [...forwarding(facts), ...reversePath(facts), ...bridged(facts)];
}

function forwarding({ network, underlay, read }: SysctlFacts): Finding[] {
  const isOn = () => expected('net/ipv6/conf/all/disable_ipv6', read, '0', 'IPv6 is switched off');
  // Pods on the physical network have no packets for the node to forward.
  if (network?.physical) return network.pools[6] ? [isOn()] : [];
  const found = [expected('net/ipv4/ip_forward', read, '1', 'this host forwards no packets of pods')];
  if (!network?.pools[6]) return found;
  found.push(
    expected('net/ipv6/conf/all/forwarding', read, '1', 'this host forwards no IPv6 packets of pods'),
    isOn(),
  );
  if (!underlay) return found;
  const path = `net/ipv6/conf/${underlay.dev}/accept_ra`;
  // A router takes no default route from advertisements unless the value is 2.
  if (read(path) === '1' && read('net/ipv6/conf/all/forwarding') === '1') {
    const what = `${dotted(path)} is 1 although the host is a router: it loses a default route that it was announced`;
    found.push(wrong('sysctl', what, { fix: `sysctl -w ${dotted(path)}=2` }));
  } else if (read(path) !== undefined) found.push(ok('sysctl', `${dotted(path)} = ${read(path)}`));
  return found;
}

/** Devices that peers' IPv4 packets come through; the setting says nothing of those for IPv6 alone. */
const TUNNELS = /^(flannel(?!-v6|-gre6)|fl\.)/;

/** The larger of `all` and the device's own counts: 2 is loose, 1 strict (RFC 3704). */
function reversePath({ network, devices, read }: SysctlFacts): Finding[] {
  const all = Number(read('net/ipv4/conf/all/rp_filter') ?? 0);
  // The kernel's module makes it in every namespace, for whoever uses it.
  const isUsed = (name: string): boolean => name === IPIP_DEVICE && network?.backend.type === 'bgp';
  const tunnels = devices.filter((name) => isUsed(name) || (TUNNELS.test(name) && !isShim(name)));
  return tunnels.flatMap((dev) => {
    const path = `net/ipv4/conf/${dev}/rp_filter`;
    const own = read(path);
    if (own === undefined) return [];
    const value = Math.max(all, Number(own));
    if (value !== 1) return [ok('sysctl', `${dotted(path)} = ${value}`)];
    const what = `${dotted(path)} is 1 in effect: packets from peers that answer another way are dropped`;
    return [wrong('sysctl', what, { fix: `sysctl -w ${dotted(path)}=2` })];
  });
}

function bridged({ network, read }: SysctlFacts): Finding[] {
  // With policies, more depends on it: policies.ts.
  if (network?.wiring !== 'bridge' || network.policy) return [];
  return (network.pools[6] ? ['iptables', 'ip6tables'] : ['iptables']).map((name) => {
    const path = `net/bridge/bridge-nf-call-${name}`;
    const value = read(path);
    if (value === '1') return ok('sysctl', `${dotted(path)} = 1`);
    const fix = `modprobe br_netfilter; sysctl -w ${dotted(path)}=1`;
    const cause = 'kube-proxy cannot see what stays on the bridge';
    const what = `${dotted(path)} is ${value ?? 'absent'}: services may not lead from one pod to another of this node`;
    return note('sysctl', what, { cause, fix });
  });
}

function expected(path: string, read: SysctlFacts['read'], value: string, otherwise: string): Finding {
  const found = read(path);
  if (found === value) return ok('sysctl', `${dotted(path)} = ${value}`);
  const fix = `sysctl -w ${dotted(path)}=${value}; find out what resets it if the agent runs`;
  return wrong('sysctl', `${dotted(path)} is ${found ?? 'absent'}: ${otherwise}`, { fix });
}

/** As sysctl(8) writes it: a dot within a name becomes a slash. */
export function dotted(path: string): string {
  return path
    .split('/')
    .map((part) => part.replaceAll('.', '/'))
    .join('.');
}
