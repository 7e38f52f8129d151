import { join } from 'node:path';
import { askAgent } from '../agent/ask.ts';
import { currentStatus } from '../agent/older-status.ts';
import { type AgentOptions, DEFAULT_PATHS, type Paths } from '../agent/options.ts';
import type { AgentStatus } from '../agent/status.ts';
import { chooseUnderlay, readInterfaces } from '../agent/underlay/choice.ts';
import { configuredBackend } from '../backends/registry.ts';
import type { Network } from '../cluster/network.ts';
import type { Self, Underlay } from '../cluster/node.ts';
import { podMtu } from '../desired/pod-mtu.ts';
import { sampleMacs } from '../desired/tunnel-types.ts';
import { messageOf } from '../error.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../linux/netlink/socket.ts';
import type { SelfTestFacts } from '../probe/self-test.ts';
import { readView, type SavedView } from '../store/view-file.ts';

/** A node as the doctor meets it: whatever can be learnt, even where no agent runs. */
export type Patient = {
  /** Absent: there is no configuration. */
  readonly options?: AgentOptions;
  readonly paths: Paths;
  readonly socket: string;
  /** Of its agent. Absent: `silence` says why. */
  readonly status?: AgentStatus;
  readonly silence?: string;
  /** The cluster as the agent last saved it. */
  readonly view?: SavedView;
  readonly network?: Network;
  readonly underlay?: Underlay;
  /** Why there is no underlay. */
  readonly stranded?: string;
};

/** Asks the agent, and reads what it would read. `socket`: by default, that of the options. */
export async function meet(options: AgentOptions | undefined, socket: string): Promise<Patient> {
  const paths = options?.paths ?? DEFAULT_PATHS;
  const [answer, view, found] = await Promise.all([
    statusOf(socket),
    readView(join(paths.state, 'view.json')),
    findUnderlay(options?.iface),
  ]);
  const underlay = answer.status?.underlay ?? found.underlay;
  return {
    ...(options && { options }),
    paths,
    socket,
    ...answer,
    ...(view && { view, network: view.network }),
    ...(underlay ? { underlay } : found),
  };
}

async function statusOf(socket: string): Promise<Pick<Patient, 'status' | 'silence'>> {
  try {
    return { status: currentStatus(await askAgent(socket, { op: 'status' })) };
  } catch (error) {
    return { silence: messageOf(error) };
  }
}

async function findUnderlay(iface: string | undefined): Promise<Pick<Patient, 'underlay' | 'stranded'>> {
  try {
    using netlink = NetlinkSocket.open(NETLINK_ROUTE);
    return {
      underlay: chooseUnderlay(await readInterfaces(netlink), { ...(iface !== undefined && { iface }) }),
    };
  } catch (error) {
    return { stranded: messageOf(error) };
  }
}

/**
 * The node as its agent would see it, from the view that it last saved; undefined without one. Enough to know
 * its devices and the ways to its peers.
 */
export function rememberedSelf({ options, status, view, underlay }: Patient): Self | undefined {
  const name = options?.node ?? status?.node;
  const node = view?.nodes.find((each) => each.name === name);
  return node && underlay && { node, underlay, tunnelMacs: sampleMacs };
}

/** What a probe needs, likewise. */
export function rememberedFacts(patient: Patient): SelfTestFacts | undefined {
  const self = rememberedSelf(patient);
  if (!self || !patient.view) return undefined;
  const { network, resources, nodes } = patient.view;
  const mtu = podMtu(network, self, configuredBackend(network, resources));
  return { network, self, resources, peers: nodes, mtu };
}
