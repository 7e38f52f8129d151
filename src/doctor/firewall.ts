import { configuredBackend } from '../backends/registry.ts';
import { messageOf } from '../error.ts';
import { forwardFacts } from '../firewall/facts.ts';
import { forwardProblems } from '../firewall/problems.ts';
import { readRuleset } from '../firewall/read.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../linux/netlink/socket.ts';
import { type Finding, note, ok, wrong } from './finding.ts';
import { type Patient, rememberedSelf } from './patient.ts';

/** Whether another program's firewall drops pods' packets on this node. */
export async function firewallFindings(patient: Patient): Promise<Finding[]> {
  const { view } = patient;
  const self = rememberedSelf(patient);
  if (!view || !self) return [note('firewall', 'not checked: the pod network is not known on this node')];
  const { network, resources } = view;
  const { backend, options } = configuredBackend(network, resources);
  const networks =
    network.addresses === 'blocks'
      ? resources.ipPools.map(({ cidr }) => cidr)
      : Object.values(network.pools).map(({ cidr }) => cidr);
  const tunnels = Object.values(network.pools).flatMap(({ cidr }) =>
    backend.device(self, options, cidr.includes(':') ? 6 : 4, cidr),
  );
  try {
    using socket = NetlinkSocket.open(NETLINK_NETFILTER);
    const facts = forwardFacts(networks, network, self.underlay, tunnels);
    const problems = await forwardProblems(readRuleset(socket), facts);
    if (problems.length > 0) return problems.map(({ what, ...reasons }) => wrong('firewall', what, reasons));
    return [ok('firewall', 'no other program’s rules drop pods’ packets')];
  } catch (error) {
    return [note('firewall', `the rules cannot be read: ${messageOf(error)}`)];
  }
}
