import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type PerFamily, perFamily } from '../../cluster/node.ts';
import { codeOf, messageOf } from '../../error.ts';
import type { ForwardFacts } from '../../firewall/facts.ts';
import { namesIn } from '../../if-there.ts';
import type { Cidr } from '../../ip/cidr.ts';
import { readSubnetFile, type SubnetFile } from '../../ipam/subnet-file.ts';
import { linkDump } from '../../linux/link/link.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../linux/netlink/socket.ts';
import type { Found, FoundAgent, FoundDevice, FoundRules } from '../flannel/found.ts';
import { BRIDGE, isFlannel, isNetworkName, SET_ASIDE } from '../flannel/plan.ts';
import { NETWORK } from '../flannel/pods.ts';
import { readBridge } from './bridge-ports.ts';
import { readConfs, readReservations, readResults } from './cni-files.ts';
import { whyNeeded } from './cut-off.ts';
import { readRules } from './flannel-rules.ts';
import { flanneldProcesses } from './flanneld.ts';

/** Where things are on the node: the agent's `paths`. */
export type Places = {
  readonly subnetFile: string;
  readonly cniConf: string;
  /** host-local's folder; libcni's and those of flannel's plugin are beside it. */
  readonly cniData: string;
};

/** Reads all that a takeover depends on; changes nothing. */
export async function readFound(places: Places, agent: FoundAgent | undefined): Promise<Found> {
  const { cniConf, cniData, subnetFile } = places;
  const unread: string[] = [];
  const confs = readConfs(cniConf);
  const names = [NETWORK, ...formerNetworks(cniConf), ...confs.filter(isFlannel).map(({ name }) => name)];
  const networks = [...new Set(names.filter(isNetworkName))];
  // Before the reservations: an ADD makes its rules after its reservation, so that none looks abandoned.
  const rules = await readRules(networks);
  const reservations = readReservations(cniData, networks, unread);
  const resultsDir = join(dirname(cniData), 'results');
  const resultFiles = namesIn(resultsDir);
  const results = readResults(resultsDir, networks, unread);
  const bridge = readBridge(BRIDGE);
  const file = await subnets(subnetFile, unread);
  const devices = readDevices();
  const here = subnetsOf(file);
  const outDevice = outDevices(devices, agent);
  const facts = { networks: networksOf(file), podDevice: BRIDGE, outDevice };
  if (hasLegacyRules())
    unread.push('iptables-legacy has rules here; flannel’s among them stay: iptables-legacy-save');
  return {
    ...(agent && { agent }),
    flanneld: flanneldProcesses(),
    subnets: here,
    devices,
    ...(bridge && { bridge: { name: BRIDGE, addresses: bridge.addresses } }),
    confs,
    reservations,
    ourReservations: join(cniData, NETWORK),
    results,
    resultFiles,
    scratch: namesIn(join(dirname(cniData), 'flannel')),
    ports: bridge?.ports ?? [],
    rules: await Promise.all(rules.map((each) => withNeed(each, facts))),
    unread,
  };
}

/** Of flannel's backend; without one, as with host-gw, that of the node's own network. */
function outDevices(devices: readonly FoundDevice[], agent: FoundAgent | undefined): PerFamily<string> {
  return perFamily((family) => {
    const own = devices.find(({ name }) => name.includes('-v6') === (family === 6))?.name;
    const { dev, addresses } = agent?.underlay ?? {};
    return own ?? (addresses?.[family] === undefined ? undefined : dev);
  });
}

async function withNeed(rules: FoundRules, facts: ForwardFacts): Promise<FoundRules> {
  if (!rules.chains?.includes('FLANNEL-FWD')) return rules;
  const needed = await whyNeeded(rules, facts);
  return { ...rules, ...(needed !== undefined && { needed }) };
}

/** The names of networks whose configurations have been set aside. */
export function formerNetworks(dir: string): string[] {
  return namesIn(dir).flatMap((name) => {
    if (!name.endsWith(SET_ASIDE)) return [];
    try {
      return [String(JSON.parse(readFileSync(join(dir, name), 'utf8')).name ?? '')];
    } catch {
      return [];
    }
  });
}

async function subnets(path: string, unread: string[]): Promise<SubnetFile | undefined> {
  try {
    return await readSubnetFile(path);
  } catch (error) {
    unread.push(`${path}: ${messageOf(error)}`);
    return undefined;
  }
}

function subnetsOf(file: SubnetFile | undefined): Cidr[] {
  return Object.values(file?.subnets ?? {});
}

function networksOf(file: SubnetFile | undefined): Cidr[] {
  return Object.values(file?.networks ?? {}).flat();
}

/** Devices of flannel's backends: `flannel.1`, `flannel-v6.1`, `flannel.ipip`, `flannel-wg`, `flannel0`. */
function readDevices(): FoundDevice[] {
  using socket = NetlinkSocket.open(NETLINK_ROUTE);
  const links = socket.dumpSync(linkDump()).filter(({ name }) => /^flannel[-.\d]/.test(name));
  return links.map(({ name, kind = 'unknown', mac, data }) => ({
    name,
    kind,
    ...(mac !== undefined && { mac }),
    ...(data?.kind === 'vxlan' && { vni: data.id ?? 0, port: data.port ?? 0 }),
  }));
}

/** Legacy iptables and nftables can both be in use; nftables does not show the former. */
function hasLegacyRules(): boolean {
  return ['ip_tables_names', 'ip6_tables_names'].some((name) => {
    try {
      return /^(nat|filter)$/m.test(readFileSync(`/proc/net/${name}`, 'utf8'));
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return false;
      throw error;
    }
  });
}
