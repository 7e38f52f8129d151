import type { TestContext } from 'node:test';
import { isNodeName } from '../../../src/cluster/names.ts';
import type { Network } from '../../../src/cluster/network.ts';
import { type NodeFacts, type PerFamily, perFamily } from '../../../src/cluster/node.ts';
import { codeOf } from '../../../src/error.ts';
import { FAMILIES } from '../../../src/ip/address.ts';
import { type Cidr, overlaps } from '../../../src/ip/cidr.ts';
import { chooseSubnet } from '../../../src/ipam/subnets.ts';
import type { KubernetesClient } from '../../../src/kubernetes/api/client.ts';
import { list } from '../../../src/kubernetes/api/list.ts';
import { getIfAny } from '../../../src/kubernetes/change.ts';
import { SILENT } from '../../../src/log.ts';
import { CONFIG_MAPS, NODES } from '../../../src/store/kubernetes/kinds.ts';
import { annotationKeys } from '../../../src/store/kubernetes/node/keys.ts';
import { readNode } from '../../../src/store/kubernetes/node/read.ts';
import { KubernetesStore } from '../../../src/store/kubernetes/store.ts';
import type { Membership } from '../../../src/store/ports/membership.ts';
import type { Store } from '../../../src/store/ports/store.ts';
import type { ApiServer } from '../../kubernetes/api-server.ts';
import type { Start } from '../ports/conformance.ts';
import { wipeOurs } from './crds.ts';
import { agentToken, NAMESPACE } from './rights.ts';

const KEYS = annotationKeys();
const CONFIG_MAP = { namespace: NAMESPACE, name: 'kube-flannel-cfg' };

/** Removes what stores have written, and all Nodes. */
export async function wipe(admin: KubernetesClient): Promise<void> {
  const { items } = await list(admin, NODES, ({ metadata: { name } }) => name);
  await Promise.all(items.map((name) => admin.delete(NODES, { name })));
  if (await getIfAny(admin, CONFIG_MAPS, CONFIG_MAP)) await admin.delete(CONFIG_MAPS, CONFIG_MAP);
}

/**
 * What kubelets and kube-controller-manager do for a node that joins: the Node object, with a podCIDR of each
 * family of the network. `previous` if it is free, as after a controller-manager that has just begun.
 */
export class Kubelets {
  readonly #admin: KubernetesClient;
  #last: Promise<unknown> = Promise.resolve();

  constructor(admin: KubernetesClient) {
    this.#admin = admin;
  }

  /** As without kube-controller-manager's --allocate-node-cidrs. */
  registerBare(name: string): Promise<void> {
    return this.register(name, undefined, {});
  }

  /** One node after another. */
  register(name: string, network: Network | undefined, previous: PerFamily<Cidr>): Promise<void> {
    const next = this.#last.then(() => this.#register(name, network, previous));
    this.#last = next.catch(() => {});
    return next;
  }

  async #register(name: string, network: Network | undefined, previous: PerFamily<Cidr>): Promise<void> {
    const { items } = await list(this.#admin, NODES, (object) => readNode(KEYS, object));
    const own = items.find((node) => node.name === name);
    if (own && own.subnets.length > 0) return;
    const gone = items.filter(
      ({ published, subnets }) =>
        !published && subnets.some((cidr) => Object.values(previous).includes(cidr)),
    );
    for (const node of gone) await this.#admin.delete(NODES, { name: node.name });
    const taken = items.filter((node) => !gone.includes(node)).flatMap(({ subnets }) => subnets);
    const found = perFamily((family) => {
      const pool = network?.pools[family];
      const before = previous[family];
      if (!pool) return undefined;
      if (before && !taken.some((cidr) => overlaps(cidr, before))) return before;
      return chooseSubnet(pool, taken, Math.random);
    });
    const podCIDRs = FAMILIES.flatMap((family) => found[family] ?? []);
    const spec = podCIDRs.length > 0 ? { podCIDR: podCIDRs[0], podCIDRs } : {};
    if (own) await this.#admin.patch(NODES, { name }, 'merge', { spec });
    else await this.#admin.create(NODES, { metadata: { name }, spec });
  }
}

/** The Kubernetes implementation of the ports, with an agent's rights, on a server that tests share. */
export function overKubernetes(server: () => ApiServer): Start {
  return async (t) => {
    const admin = server().client(t);
    await wipe(admin);
    await wipeOurs(admin);
    const token = await agentToken(admin);
    const kubelets = new Kubelets(admin);
    return { open: () => openStore(t, server(), token, kubelets) };
  };
}

function openStore(t: TestContext, server: ApiServer, token: string, kubelets: Kubelets): Store {
  const open = (access = server.access(token)): KubernetesStore => {
    const store = new KubernetesStore(access, { namespace: NAMESPACE }, SILENT);
    t.after(() => store.close());
    return store;
  };
  const agent = open();
  const { feed, blocks } = agent;
  // With an operator's rights: agents only read them.
  const operator = open(server.access());
  const { network, resources } = operator;
  const membership: Membership = {
    async join(self: NodeFacts, previous: PerFamily<Cidr>) {
      if (isNodeName(self.name)) await kubelets.register(self.name, await readIfAny(network), previous);
      return agent.membership.join(self);
    },
    members: () => agent.membership.members(),
    names: () => agent.membership.names(),
    isAlive: (node) => agent.membership.isAlive(node),
    forget: (node) => agent.membership.forget(node),
    async place(nodes, dryRun) {
      for (const { name } of nodes) await kubelets.registerBare(name);
      return operator.membership.place(nodes, dryRun);
    },
  };
  return { network, membership, feed, resources, blocks, close: () => agent.close() };
}

async function readIfAny(network: Store['network']): Promise<Network | undefined> {
  try {
    return await network.read();
  } catch (error) {
    if (codeOf(error) === 'NOT_FOUND') return undefined;
    throw error;
  }
}
