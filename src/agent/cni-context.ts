import { configuredBackend } from '../backends/registry.ts';
import { refusedSource, sourceRules } from '../cluster/allowed-sources.ts';
import { type LocalPod, perFamily } from '../cluster/node.ts';
import type { OwnPort } from '../cluster/own-port.ts';
import { chooseParent } from '../cluster/parent.ts';
import type { CniContext, PhysicalNetwork } from '../cni/context.ts';
import { ownPorts } from '../desired/own-ports.ts';
import type { Leases } from '../dhcp/leases.ts';
import { messageOf } from '../error.ts';
import type { Assigner } from '../ipam/assigner.ts';
import type { Log } from '../log.ts';
import { BRIDGE } from '../wiring/bridge.ts';
import type { Facts } from './facts.ts';

/** Inputs of the CNI verbs. */
export type CniSources = {
  readonly facts: Facts;
  readonly notReady: () => string | undefined;
  /** Bytes. */
  readonly mtu: () => number;
  /** Resolves to undefined once the kernel holds what constrains a pod, otherwise to the reason. */
  readonly admit: (pod: LocalPod) => Promise<string | undefined>;
  /** Called once a detached pod is no fact any more. */
  readonly left: (pod: LocalPod) => void;
  /** Resolves once no host port leads to a detached pod any more. */
  readonly release: (pod: LocalPod) => Promise<void>;
  readonly assigner: Assigner;
  readonly leases: Leases;
  readonly log: Log;
};

/** The agent as the CNI verbs see it. Every property reads the current state. */
export function cniContext(sources: CniSources): CniContext {
  const { facts, notReady, mtu, admit, left, release, assigner, leases, log } = sources;
  const { paths } = facts.options;
  return {
    bridge: BRIDGE,
    dataDir: paths.cniData,
    stateDir: paths.state,
    notReady,
    get subnets() {
      return facts.subnets ?? [];
    },
    get networks() {
      return facts.podNetworks;
    },
    refusesSource: (cidr) => refusedSource(cidr, sourceRules(facts)),
    get wiring() {
      return facts.network?.wiring ?? 'bridge';
    },
    get physical() {
      return physicalOf(facts);
    },
    get ownPorts() {
      return ownPortsOf(facts);
    },
    get assigner() {
      return facts.usesBlocks ? assigner : undefined;
    },
    leases,
    get mtu() {
      return mtu();
    },
    get masquerade() {
      return facts.network?.masquerade.enabled ?? false;
    },
    attached: (pod) => facts.pods.add(pod),
    admit,
    detached: (pod) => {
      facts.pods.remove(pod);
      left(pod);
    },
    released: release,
    warn: (text, error) => log.warn({ error: messageOf(error) }, text),
  };
}

/** Undefined where pods are on no physical network, or before that is known. */
function physicalOf({ network, underlay, host }: Facts): PhysicalNetwork | undefined {
  const config = network?.physical;
  if (!config || !underlay) return undefined;
  return {
    config,
    hasDhcp: network.addresses === 'dhcp',
    networks: perFamily((family) => network.pools[family]?.cidr),
    node: perFamily((family) => network.pools[family] && underlay.addresses[family]),
    parent: () => chooseParent(config, underlay, host),
  };
}

/** None before the network is known: no pod is taken then. */
function ownPortsOf({ network, resources, serves }: Facts): readonly OwnPort[] {
  return network ? ownPorts(network, { serves }, configuredBackend(network, resources)) : [];
}
