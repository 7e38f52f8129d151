import type { TestContext } from 'node:test';
import type { NodeFacts, PerFamily } from '../../../src/cluster/node.ts';
import { parseIp } from '../../../src/ip/address.ts';
import { type Cidr, overlaps } from '../../../src/ip/cidr.ts';
import type { Log } from '../../../src/log.ts';
import { EtcdStore, type EtcdStoreOptions } from '../../../src/store/etcd/store.ts';
import { EtcdKv } from '../../../src/store/kv/client.ts';
import type { ClusterView } from '../../../src/store/ports/feed.ts';
import type { Claim } from '../../../src/store/ports/membership.ts';
import type { Store } from '../../../src/store/ports/store.ts';
import { eventually } from '../servers.ts';

export const PREFIX = '/net';

/** One store as agents use it: creates store clients and claims, and ends them with the test. */
export class TestCluster {
  readonly kv: EtcdKv;
  readonly warnings: string[] = [];
  readonly #t: TestContext;
  readonly #endpoint: string;

  constructor(t: TestContext, endpoint: string) {
    this.#t = t;
    this.#endpoint = endpoint;
    this.kv = new EtcdKv({ endpoints: [endpoint] });
    t.after(() => this.kv.close());
  }

  async configure(config: object): Promise<void> {
    await this.kv.put(`${PREFIX}/config`, JSON.stringify(config));
  }

  store(options: EtcdStoreOptions = {}, client: { watchIdle?: number; timeout?: number } = {}): Store {
    const kv = new EtcdKv({ endpoints: [this.#endpoint], timeout: 3_000, ...client });
    const store = new EtcdStore(kv, { prefix: PREFIX, answerTime: 600, ...options }, this.#log());
    this.#t.after(() => store.close());
    return store;
  }

  /** Claims subnets as a new agent with its own store client. */
  join(self: NodeFacts, previous: PerFamily<Cidr> = {}, options: EtcdStoreOptions = {}): Promise<Claim> {
    return this.store(options).membership.join(self, previous);
  }

  /** The views a store yields, newest last. */
  views(store: Store = this.store()): ClusterView[] {
    const views: ClusterView[] = [];
    const abort = new AbortController();
    this.#t.after(() => abort.abort());
    void (async () => {
      for await (const view of store.feed.watch(abort.signal)) views.push(view);
    })();
    return views;
  }

  /** Keys below the prefix, without it. */
  async keys(): Promise<string[]> {
    return (await this.kv.list(`${PREFIX}/`)).items.map(({ key }) => key.slice(PREFIX.length + 1));
  }

  #log(): Log {
    const note = (fields: object, message: string): void =>
      void this.warnings.push(`${message} ${JSON.stringify(fields)}`);
    return { debug: () => {}, info: () => {}, warn: note, error: note };
  }
}

/** Node number `i` with the public address 192.0.2.`i` and, with `dual`, 2001:db8::`i`. */
export function self(i: number, over: Partial<NodeFacts> & { dual?: boolean } = {}): NodeFacts {
  const { dual = false, ...rest } = over;
  return {
    name: `node${i}`,
    labels: { number: String(i) },
    addresses: { 4: parseIp(`192.0.2.${i}`), ...(dual && { 6: parseIp(`2001:db8::${i}`) }) },
    backend: {
      type: 'vxlan',
      data: { 4: { VNI: 1, VtepMAC: `02:00:00:00:00:${String(i).padStart(2, '0')}` } },
    },
    ...rest,
  };
}

export function overlapping(subnets: readonly Cidr[]): [Cidr, Cidr] | undefined {
  for (const [i, a] of subnets.entries()) {
    for (const b of subnets.slice(i + 1)) if (overlaps(a, b)) return [a, b];
  }
  return undefined;
}

/** A promise's outcome: `undefined` while pending, otherwise the error's code or `fulfilled`. */
export function outcome(promise: Promise<unknown>): { code: string | undefined } {
  const result: { code: string | undefined } = { code: undefined };
  promise.then(
    () => (result.code = 'fulfilled'),
    (error: { code?: string }) => (result.code = error.code ?? 'unknown'),
  );
  return result;
}

export function lastView(
  views: readonly ClusterView[],
  check: (view: ClusterView) => boolean,
  timeout = 5_000,
) {
  return eventually(() => {
    const view = views.at(-1);
    return view && check(view) ? view : undefined;
  }, timeout);
}
