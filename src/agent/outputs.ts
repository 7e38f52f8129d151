import { join, resolve } from 'node:path';
import { type PerFamily, perFamily } from '../cluster/node.ts';
import { renderConfList, writeConfList } from '../cni/protocol/conflist.ts';
import { installPlugins, writeAgentFile } from '../cni/shim/install.ts';
import type { Desired } from '../desired/desired.ts';
import { messageOf } from '../error.ts';
import { familyOf } from '../ip/address.ts';
import type { Cidr } from '../ip/cidr.ts';
import { readSubnetFile, type SubnetFile, writeSubnetFile } from '../ipam/subnet-file.ts';
import type { Log } from '../log.ts';
import type { Agent } from './agent.ts';
import { AGENT_SOCKET } from './options.ts';

/** What `make shim` compiles. */
const SHIM = resolve(import.meta.dirname, '../../dist/flatnet-cni');

/** Tells the container runtime that pods can come: subnet.env first, then the conflist, whose presence makes the node ready. */
export async function writeOutputs(agent: Agent, { mtu }: Desired): Promise<void> {
  const { paths } = agent.options;
  const { network, subnets } = agent;
  if (!network) return;
  const file: SubnetFile = {
    networks: perFamily((family) => network.pools[family] && [network.pools[family].cidr]),
    subnets: perFamily((family) => subnets.find((subnet) => familyOf(subnet) === family)),
    mtu,
    masquerade: network.masquerade.enabled,
  };
  // Blocks come and go with pods: nothing in the file would stay true.
  if (network.addresses === 'lease') await writeSubnetFile(paths.subnetFile, file);
  installPlugins(SHIM, paths.cniBin);
  const place = { socket: join(paths.run, AGENT_SOCKET), stateDir: paths.state };
  writeAgentFile(paths.cniBin, place);
  writeConfList(paths.cniConf, renderConfList(place, network.wiring));
}

/** The subnets this node had before, from subnet.env; none when the file can't be read. */
export async function previousSubnets(path: string, log: Log): Promise<PerFamily<Cidr>> {
  try {
    return (await readSubnetFile(path))?.subnets ?? {};
  } catch (error) {
    log.warn({ path, error: messageOf(error) }, 'the previous subnets are unknown');
    return {};
  }
}
