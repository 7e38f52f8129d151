import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type Attachment, Attachments } from '../../cni/records/attachment.ts';
import { type NotedDel, notedDels } from '../../cni/records/noted-del.ts';
import { codeOf } from '../../error.ts';
import { namesIn } from '../../if-there.ts';
import { isIp } from '../../ip/address.ts';
import type { Cidr } from '../../ip/cidr.ts';
import { readSubnetFile } from '../../ipam/subnet-file.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../../linux/netlink/socket.ts';
import { listTables } from '../../linux/nftables/tables.ts';
import { isOurTable } from '../../state/ownership.ts';
import type { FoundBack, NotedPod, OurPod } from '../flannel/back.ts';
import { isFlannel, isNetworkName, SET_ASIDE } from '../flannel/plan.ts';
import { NETWORK } from '../flannel/pods.ts';
import { readConfs } from './cni-files.ts';
import { readRules } from './flannel-rules.ts';
import { flanneldProcesses } from './flanneld.ts';
import { formerNetworks, type Places } from './read-found.ts';

/** Those that flannel's usual configuration calls, itself or through others. */
const PLUGINS: readonly string[] = ['flannel', 'bridge', 'host-local', 'portmap'];

/** Reads all that the way back depends on; changes nothing. */
export async function readBack(
  places: Places & { readonly cniBin: string; readonly state: string },
  isAgentRunning: boolean,
): Promise<FoundBack> {
  const { subnetFile, cniConf, cniData, cniBin, state } = places;
  const ours = join(cniData, NETWORK);
  const scratchDir = join(dirname(cniData), 'flannel');
  using socket = NetlinkSocket.open(NETLINK_NETFILTER);
  const tables = await listTables(socket);
  const records = new Attachments(state).list();
  return {
    isAgentRunning,
    flanneld: flanneldProcesses(),
    subnets: await subnets(subnetFile),
    rules: await readRules([]),
    missingPlugins: PLUGINS.map((name) => join(cniBin, name)).filter((path) => !existsSync(path)),
    confs: readConfs(cniConf),
    setAside: namesIn(cniConf)
      .filter((name) => name.endsWith(SET_ASIDE))
      .map((name) => join(cniConf, name)),
    usualConf: join(cniConf, '10-flannel.conflist'),
    pods: records.flatMap((record) => (record.state === 'damaged' ? [] : ourPod(record))),
    noted: notedDels(state).flatMap((note) => notedPod(note, state)),
    damaged: records.flatMap((record) => (record.state === 'damaged' ? record.file : [])),
    scratchDir,
    scratch: namesIn(scratchDir),
    reservations: {
      dir: ours,
      count: namesIn(ours).filter((name) => isIp(name)).length,
      flannels: join(cniData, flannelNetwork(cniConf) ?? NETWORK),
    },
    tables: tables.filter(({ table }) => isOurTable(table)),
  };
}

/** The name of flannel's network: in its configuration, or in the one that has been set aside. */
function flannelNetwork(dir: string): string | undefined {
  const names = [
    ...readConfs(dir)
      .filter(isFlannel)
      .map(({ name }) => name),
    ...formerNetworks(dir),
  ];
  return names.find(isNetworkName);
}

/** None if flanneld has not written the file, or not all of it. */
async function subnets(file: string): Promise<Cidr[]> {
  try {
    return Object.values((await readSubnetFile(file))?.subnets ?? {});
  } catch (error) {
    if (codeOf(error) === 'CONFIG_INVALID') return [];
    throw error;
  }
}

function notedPod({ file, request: { env } }: NotedDel, state: string): NotedPod[] {
  const { CNI_COMMAND: command, CNI_CONTAINERID: containerId = '', CNI_IFNAME: ifName = '' } = env;
  return command === 'DEL' ? [{ file, state, containerId, ifName }] : [];
}

/** Empty unless we have made or adopted the pod's interface. */
function ourPod(record: Attachment): OurPod | [] {
  if (record.role !== 'interface' || record.chained) return [];
  const { containerId, ifName, pod, dir, addresses, bridge, mtu = 0, hostPorts = [], wiring } = record;
  return {
    containerId,
    ifName,
    ...(pod?.namespace && { namespace: pod.namespace }),
    ...(pod?.name && { name: pod.name }),
    dir,
    addresses,
    ...(bridge !== undefined && wiring === undefined && { bridge }),
    mtu,
    hasHostPorts: hostPorts.length > 0,
  };
}
