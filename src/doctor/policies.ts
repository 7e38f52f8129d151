import type { Network } from '../cluster/network.ts';
import type { DeviceHandover } from '../linux/nftables/flowtable.ts';
import { isOurTable } from '../state/ownership.ts';
import { BRIDGE } from '../wiring/bridge.ts';
import { DEVICE_PREFIX } from '../wiring/pod-device.ts';
import { type Finding, note, ok, wrong } from './finding.ts';
import { dotted } from './sysctls.ts';

export type PolicyFacts = {
  readonly network: Network | undefined;
  /** The value at a path below /proc/sys; undefined if there is none. */
  readonly read: (path: string) => string | undefined;
  /** /proc/net/ip_vs; undefined without IPVS. */
  readonly ipvs: string | undefined;
  /** Or why they cannot be read. */
  readonly handovers: readonly DeviceHandover[] | { readonly unread: string };
};

/** From which share of its table on the kernel is said to be short of room for connections. */
const NEARLY_FULL = 0.9;

/** What lets packets pass by network policies, where these are to be enforced, or drops what they allow. */
export function policyFindings(facts: PolicyFacts): Finding[] {
  if (!facts.network?.policy) return [];
  return [...bridged(facts), ...connections(facts), ...services(facts), ...handedOver(facts)];
}

function bridged({ network, read }: PolicyFacts): Finding[] {
  if (network?.wiring !== 'bridge') return [];
  return (network.pools[6] ? ['iptables', 'ip6tables'] : ['iptables']).map((name) => {
    const path = `net/bridge/bridge-nf-call-${name}`;
    const value = read(path);
    if (value === '1') return ok('policy', `${dotted(path)} = 1`);
    const what = `${dotted(path)} is ${value ?? 'absent'}: what pods of this node send each other passes by their policies`;
    return wrong('policy', what, {
      cause: 'it stays on the bridge',
      fix: `modprobe br_netfilter; sysctl -w ${dotted(path)}=1`,
    });
  });
}

/** Policies judge a connection's first packet, and so depend on the kernel's knowing connections. */
function connections({ read }: PolicyFacts): Finding[] {
  const [limit, count] = ['max', 'count'].map((name) => read(`net/netfilter/nf_conntrack_${name}`));
  if (limit === undefined || count === undefined)
    return [note('policy', 'this kernel tracks no connections yet', { fix: 'modprobe nf_conntrack' })];
  const text = `${count} of at most ${limit} connections are tracked`;
  if (Number(limit) === 0 || Number(count) < NEARLY_FULL * Number(limit)) return [ok('policy', text)];
  return [
    wrong('policy', `${text}: beyond, new ones are dropped`, {
      fix: `sysctl -w net.netfilter.nf_conntrack_max=${2 * Number(limit)}; see who has them: conntrack -L`,
    }),
  ];
}

const CONNTRACK = 'net/ipv4/vs/conntrack';

/** IPVS leads what it does not track past conntrack, so that answers look like connections of their own. */
function services({ ipvs, read }: PolicyFacts): Finding[] {
  const count = ipvs?.split('\n').filter((line) => /^(TCP|UDP|SCTP|FWM) /.test(line)).length ?? 0;
  if (count === 0) return [];
  const text = `IPVS leads ${count} services to pods`;
  if (read(CONNTRACK) === '1') return [ok('policy', `${text}, and tracks their connections`)];
  return [
    wrong('policy', `${text}, but ${dotted(CONNTRACK)} is 0: answers from isolated pods are dropped`, {
      cause: 'they look like connections of their own',
      fix: `sysctl -w ${dotted(CONNTRACK)}=1, as kube-proxy does`,
    }),
  ];
}

/** Established connections in a flowtable of somebody else’s are not ended there when policies change. */
function handedOver({ handovers }: PolicyFacts): Finding[] {
  if ('unread' in handovers) return [note('policy', `flowtables are not checked: ${handovers.unread}`)];
  const isOfPods = (device: string): boolean => device === BRIDGE || device.startsWith(DEVICE_PREFIX);
  return handovers
    .filter(({ table: { table }, devices }) => !isOurTable(table) && devices.some(isOfPods))
    .map(({ table: { family, table }, name }) =>
      note('policy', `flowtable ${name} of table ${family} ${table} takes established connections of pods`, {
        cause: 'its packets pass no chain: other firewalls do not see them, nor do counters',
        fix: 'if nobody needs it, remove pods’ devices from it',
      }),
    );
}
