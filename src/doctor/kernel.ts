import { closeSync } from 'node:fs';
import type { Network } from '../cluster/network.ts';
import type { Physical } from '../cluster/physical.ts';
import { isPhysical } from '../cluster/wiring.ts';
import { tunnelTypes } from '../desired/tunnel-types.ts';
import { FlatnetError, messageOf } from '../error.ts';
import { type LinkSpec, linkAdd } from '../linux/link/change.ts';
import type { LinkData } from '../linux/link/kinds.ts';
import { moduleOf } from '../linux/link/module.ts';
import { NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkSocket } from '../linux/netlink/socket.ts';
import { createNetns, deleteNetns, withNetns } from '../linux/netns.ts';
import { generationGet } from '../linux/nftables/generation.ts';
import { rehearse } from '../linux/nftables/rehearsal.ts';
import { openTun } from '../linux/tun.ts';
import { observationTable } from '../policy/names/table.ts';
import { type Finding, note, ok, wrong } from './finding.ts';

/** The index of the interface that others share. */
const PARENT = 100;

const BRIDGE: LinkData = { kind: 'bridge' };

/** Whether this kernel makes the devices that this network needs, tried in a namespace that goes again. */
export function kernelFindings(network: Network | undefined): Finding[] {
  const name = `flatnet-doctor-${process.pid}`;
  let netns: string;
  try {
    netns = createNetns(name);
  } catch (error) {
    const fix = 'run this command as root, with CAP_SYS_ADMIN';
    return [note('kernel', `devices cannot be tried: ${messageOf(error)}`, { fix })];
  }
  try {
    const specs: LinkSpec[] = [
      ...((network?.wiring ?? 'bridge') === 'bridge' ? [{ name: 'bridge0', data: BRIDGE }] : []),
      { name: 'veth0', index: PARENT, data: { kind: 'veth', peer: { name: 'veth1' } } },
      ...(network?.physical ? [{ name: 'pod0', data: onPhysical(network.physical) }] : []),
      ...(network ? tunnelTypes(network) : []).map(({ sample }, i) => ({ name: `tunnel${i}`, data: sample })),
    ];
    using socket = NetlinkSocket.open(NETLINK_ROUTE, { netns });
    const tried = specs.map((spec) =>
      attempt(`${spec.data.kind} devices`, moduleOf(spec.data.kind), () => socket.executeSync(linkAdd(spec))),
    );
    if (network?.backend.type === 'udp') {
      const open = () => withNetns(netns, () => closeSync(openTun('tunnel')));
      tried.push(attempt('TUN devices', 'tun', open));
    }
    return [...tried, attempt('nftables', 'nf_tables', () => askNftables(netns))];
  } finally {
    deleteNetns(name);
  }
}

/** Whether this kernel can hold DNS answers until the agent has seen to them, for policies with names. */
export async function holdingFinding(): Promise<Finding> {
  try {
    await rehearse([observationTable('held', 4)]);
    return ok('kernel', 'answers about domain names can be held');
  } catch (error) {
    if (!(error instanceof FlatnetError)) throw error;
    const what = 'answers about domain names cannot be held, which matters only to policies that have names';
    return note('kernel', what, { cause: messageOf(error), fix: 'modprobe nft_queue' });
  }
}

function onPhysical({ wiring, mode }: Physical): LinkData {
  return { kind: wiring, mode, parent: PARENT } as LinkData;
}

/** The socket alone is there without nftables, too. */
function askNftables(netns: string): void {
  using socket = NetlinkSocket.open(NETLINK_NETFILTER, { netns });
  socket.getSync(generationGet());
}

function attempt(feature: string, module: string, make: () => void): Finding {
  try {
    make();
    return ok('kernel', feature);
  } catch (error) {
    if (!(error instanceof FlatnetError)) throw error;
    const instead = isPhysical(module) ? ', or choose another wiring' : ', or choose another backend';
    const isForbidden = error.errno === 'EPERM' || error.errno === 'EACCES';
    return wrong('kernel', isForbidden ? `${feature} are forbidden here` : `this kernel has no ${feature}`, {
      cause: messageOf(error),
      fix: isForbidden ? 'run the agent with CAP_NET_ADMIN' : `modprobe ${module}${instead}`,
    });
  }
}
