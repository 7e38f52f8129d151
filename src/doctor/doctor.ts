import { configuredBackend } from '../backends/registry.ts';
import type { Network } from '../cluster/network.ts';
import { codeOf, messageOf } from '../error.ts';
import { readIfThere } from '../if-there.ts';
import { linkDump } from '../linux/link/link.ts';
import { NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkSocket } from '../linux/netlink/socket.ts';
import { type DeviceHandover, readHandovers } from '../linux/nftables/flowtable.ts';
import { readSysctl } from '../linux/sysctl.ts';
import type { PathReport } from '../probe/report.ts';
import type { ProbePage } from '../probe/self-test.ts';
import { agentFindings, storeFindings } from './agent.ts';
import { cniFindings } from './cni.ts';
import { type Finding, note } from './finding.ts';
import { firewallFindings } from './firewall.ts';
import { holdingFinding, kernelFindings } from './kernel.ts';
import { mtuFindings } from './mtu.ts';
import { type Patient, rememberedFacts } from './patient.ts';
import { cannotProbe, peerFindings, probePeers } from './peers.ts';
import { policyFindings } from './policies.ts';
import { portFindings } from './ports.ts';
import { sysctlFindings } from './sysctls.ts';

export type ExamineOptions = {
  /** The most peers to test. */
  readonly peers: number;
  readonly progress: (text: string) => void;
};

/** All that was found, and the reports on the ways to peers, for programs. */
export type Diagnosis = { readonly findings: readonly Finding[]; readonly paths: readonly PathReport[] };

/** Examines the node of this network namespace. Changes nothing. */
export async function examine(patient: Patient, { peers, progress }: ExamineOptions): Promise<Diagnosis> {
  const { network, view, underlay, paths, status } = patient;
  const devices = deviceNames();
  progress('the store');
  const store = await storeFindings(patient);
  progress('the kernel');
  const findings = [
    ...agentFindings(patient),
    ...store,
    ...kernelFindings(network),
    ...(network?.policy ? [await holdingFinding()] : []),
    ...sysctlFindings({ network, underlay, devices, read: readOr }),
    ...(view
      ? portFindings(configuredBackend(view.network, view.resources))
      : [note('ports', 'not checked: the pod network is not known on this node')]),
    ...(await firewallFindings(patient)),
    ...(await ofPolicies(network)),
    ...mtuFindings(patient),
    ...cniFindings(paths, devices),
  ];
  const reports: PathReport[] = [];
  if (!status && !rememberedFacts(patient)) {
    return {
      findings: [...findings, note('peers', 'not tested: they are not known on this node')],
      paths: reports,
    };
  }
  let last: ProbePage = { total: 0, reports };
  try {
    progress('the ways to peers');
    for await (const page of probePeers(patient, peers)) {
      reports.push(...page.reports);
      last = { ...page, reports };
      progress(`the ways to peers: ${new Set(reports.map(({ peer }) => peer)).size} of ${page.total}`);
    }
    findings.push(...peerFindings(last));
  } catch (error) {
    findings.push(cannotProbe(error));
  }
  return { findings, paths: reports };
}

function deviceNames(): string[] {
  using netlink = NetlinkSocket.open(NETLINK_ROUTE);
  return netlink.dumpSync(linkDump()).map(({ name }) => name);
}

async function ofPolicies(network: Network | undefined): Promise<Finding[]> {
  if (!network?.policy) return [];
  const handovers = await readAllHandovers().catch((error: unknown) => ({ unread: messageOf(error) }));
  try {
    return policyFindings({ network, read: readOr, ipvs: readIfThere('/proc/net/ip_vs'), handovers });
  } catch (error) {
    return [note('policy', `not checked: ${messageOf(error)}`)];
  }
}

async function readAllHandovers(): Promise<readonly DeviceHandover[]> {
  using socket = NetlinkSocket.open(NETLINK_NETFILTER);
  return await readHandovers(socket);
}

function readOr(path: string): string | undefined {
  try {
    return readSysctl(path);
  } catch (error) {
    if (codeOf(error) === 'NOT_FOUND') return undefined;
    throw error;
  }
}
