import type { CniContext } from '../cni/context.ts';
import { messageOf } from '../error.ts';
import { FAMILIES } from '../ip/address.ts';
import type { Assigner } from '../ipam/assigner.ts';
import type { Log } from '../log.ts';
import { BRIDGE } from '../wiring/bridge.ts';
import type { Agent } from './agent.ts';

/** The agent as the CNI verbs see it: what is true at the moment they ask. */
export function cniContext(agent: Agent, assigner: Assigner, log: Log): CniContext {
  const { paths } = agent.options;
  return {
    bridge: BRIDGE,
    dataDir: paths.cniData,
    stateDir: paths.state,
    notReady: () => agent.notReady,
    get subnets() {
      return agent.subnets;
    },
    get networks() {
      if (agent.network?.addresses === 'blocks') return agent.resources.ipPools.map(({ cidr }) => cidr);
      return FAMILIES.flatMap((family) => agent.network?.pools[family]?.cidr ?? []);
    },
    get wiring() {
      return agent.network?.wiring ?? 'bridge';
    },
    get assigner() {
      return agent.network?.addresses === 'blocks' ? assigner : undefined;
    },
    get mtu() {
      return agent.mtu;
    },
    get masquerade() {
      return agent.network?.masquerade.enabled ?? false;
    },
    attached: (pod) => agent.pods.add(pod),
    detached: (pod) => agent.pods.remove(pod),
    warn: (text, error) => log.warn({ error: messageOf(error) }, text),
  };
}
