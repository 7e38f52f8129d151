import { pause } from '../../../src/async/pause.ts';
import { FAMILIES, type Family } from '../../../src/ip/address.ts';
import type { KubeletCluster, Life } from '../nodes/cluster.ts';

/** How the addresses of load balancers begin. */
const ADDRESSES: Readonly<Record<Family, string>> = { 4: '172.31.78.', 6: 'fd00:31:78::' };
/** Whom the cluster sees outside. Clients in the nodes’ networks would count as masqueraded. */
const CLIENTS: Readonly<Record<Family, string>> = { 4: '192.0.2.10', 6: '2001:db8::10' };

const FINALIZER = 'service.kubernetes.io/load-balancer-cleanup';

type ApiObject = {
  readonly kind: string;
  readonly metadata: {
    readonly namespace: string;
    readonly name: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly finalizers?: readonly string[];
    readonly deletionTimestamp?: string;
  };
  readonly spec?: {
    readonly type: string;
    readonly ipFamilies?: readonly string[];
    readonly externalTrafficPolicy?: string;
    readonly sessionAffinity?: string;
  };
  readonly status?: { readonly loadBalancer?: { readonly ingress?: readonly { readonly ip: string }[] } };
  readonly endpoints?: readonly {
    readonly nodeName?: string;
    readonly conditions: { readonly ready?: boolean };
  }[];
};

/**
 * Does for Services of the type LoadBalancer what a cloud does: gives each an address, to which a client
 * outside has a route by way of the nodes, with the policy `Local` of those that have an endpoint.
 */
export async function serveLoadBalancers({ after }: Life, cluster: KubeletCluster): Promise<void> {
  await addClient(cluster);
  const ended = new AbortController();
  const balancers = new LoadBalancers(cluster);
  const run = async (): Promise<void> => {
    while (!ended.signal.aborted) {
      // The next time will do: Services come and go meanwhile, and so does the API server at the end.
      await balancers.follow().catch((error: unknown) => balancers.failures.add(String(error)));
      await pause(300);
    }
  };
  const running = run();
  after(async () => {
    ended.abort();
    await running;
    for (const failure of balancers.failures) console.error(`e2e: load balancers: ${failure}`);
  });
}

async function addClient({ plane, nodes }: KubeletCluster): Promise<void> {
  // Each connection goes its own way.
  for (const family of ['ipv4', 'ipv6'])
    await plane.outside('sysctl', '-qw', `net.${family}.fib_multipath_hash_policy=1`);
  for (const own of plane.addresses) {
    const client = CLIENTS[own.includes(':') ? 6 : 4];
    await plane.outside('ip', 'address', 'add', client, 'dev', 'lo');
    for (const node of nodes) await node.exec('ip', 'route', 'replace', client, 'via', own);
  }
}

class LoadBalancers {
  /** Why something could not be done at once. */
  readonly failures = new Set<string>();
  readonly #cluster: KubeletCluster;
  /** Next hops by address. */
  readonly #routes = new Map<string, string>();
  #given = 0;

  constructor(cluster: KubeletCluster) {
    this.#cluster = cluster;
  }

  async follow(): Promise<void> {
    const shown = await this.#cluster.plane.kubectl('get', 'services,endpointslices', '-A', '-o', 'json');
    const { items } = JSON.parse(shown) as { items: readonly ApiObject[] };
    for (const service of items.filter(({ kind }) => kind === 'Service')) {
      const { finalizers = [], deletionTimestamp } = service.metadata;
      const isWanted = service.spec?.type === 'LoadBalancer' && deletionTimestamp === undefined;
      if (!isWanted) {
        if (finalizers.includes(FINALIZER)) await this.#release(service);
        continue;
      }
      if (!finalizers.includes(FINALIZER)) await this.#give(service);
      for (const { ip } of service.status?.loadBalancer?.ingress ?? []) await this.#route(ip, service, items);
    }
  }

  async #give(service: ApiObject): Promise<void> {
    const number = 1 + (this.#given++ % 250);
    const families = FAMILIES.filter((family) => service.spec?.ipFamilies?.includes(`IPv${family}`));
    const ingress = families.map((family) => ({ ip: `${ADDRESSES[family]}${number}` }));
    await this.#patch(service, { metadata: { finalizers: [FINALIZER] } });
    await this.#patch(service, { status: { loadBalancer: { ingress } } }, '--subresource=status');
  }

  async #release(service: ApiObject): Promise<void> {
    await this.#patch(service, { status: { loadBalancer: null } }, '--subresource=status');
    await this.#patch(service, { metadata: { finalizers: null } });
  }

  async #patch(
    { metadata: { namespace, name } }: ApiObject,
    patch: object,
    ...more: string[]
  ): Promise<void> {
    const argv = ['patch', 'service', name, '-n', namespace, '--type=merge', `-p=${JSON.stringify(patch)}`];
    await this.#cluster.plane.kubectl(...argv, ...more);
  }

  async #route(ip: string, { spec, metadata }: ApiObject, items: readonly ApiObject[]): Promise<void> {
    const { plane, nodes } = this.#cluster;
    const six = ip.includes(':');
    const own = items.filter(
      (item) =>
        item.metadata.namespace === metadata.namespace &&
        item.metadata.labels?.['kubernetes.io/service-name'] === metadata.name,
    );
    const ready = own.flatMap(({ endpoints }) => endpoints ?? []).filter((each) => each.conditions.ready);
    const names = new Set(ready.map(({ nodeName }) => nodeName));
    const hops = nodes
      .filter(({ name }) => spec?.externalTrafficPolicy !== 'Local' || names.has(name))
      .map(({ addresses }) => addresses.find((address) => address.includes(':') === six) ?? '');
    const used = spec?.sessionAffinity === 'ClientIP' ? hops.slice(0, 1) : hops;
    if (this.#routes.get(ip) === used.join()) return;
    const via = [ip, 'src', CLIENTS[six ? 6 : 4], ...used.flatMap((hop) => ['nexthop', 'via', hop])];
    const to = used.length === 0 ? ['unreachable', ip] : via;
    await plane.outside('ip', ...(six ? ['-6'] : []), 'route', 'replace', ...to);
    this.#routes.set(ip, used.join());
  }
}
