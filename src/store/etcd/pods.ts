import { background } from '../../async/background.ts';
import { Latest } from '../../async/latest.ts';
import { pause } from '../../async/pause.ts';
import { untilDone } from '../../async/until-done.ts';
import { codeOf } from '../../error.ts';
import type { Ip } from '../../ip/address.ts';
import type { Log } from '../../log.ts';
import { excerpt, type Problem, warning } from '../../problem.ts';
import type { Kv } from '../kv/kv.ts';
import type { NodePods, PodRegistry } from '../ports/policies.ts';
import { decodePod, encodePod } from '../values/pods.ts';
import type { PolicyKeys } from './policy-keys.ts';
import { Replica } from './replica.ts';

/** Maximum delay of Node.js timers, in milliseconds. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** A node's pods as keys below its name, under a lease of their own. */
export class EtcdPods implements PodRegistry {
  readonly #kv: Kv;
  readonly #keys: PolicyKeys;
  readonly #ttl: number;
  readonly #log: Log;
  /** Why the last attempt to write them failed. */
  #failure: string | undefined;

  /** `ttl`: the seconds after which they are gone, if the node is. */
  constructor(kv: Kv, keys: PolicyKeys, ttl: number, log: Log) {
    this.#kv = kv;
    this.#keys = keys;
    this.#ttl = ttl;
    this.#log = log;
  }

  /** Why the store may know other pods. */
  get problems(): readonly Problem[] {
    if (this.#failure === undefined) return [];
    const what = 'the store does not know this node’s pods';
    return [warning('store-unreachable', what, excerpt(this.#failure, 400))];
  }

  keep(node: string, pods: () => NodePods | undefined, signal: AbortSignal): () => void {
    const [kv, log] = [this.#kv, this.#log];
    const replica = new Replica({ kv, prefix: this.#keys.pods(node), log });
    const write = new Latest(
      'publish pods',
      async (_: undefined, superseded) => {
        const both = AbortSignal.any([signal, superseded]);
        const failed = (reason: string): void => {
          this.#failure = reason;
        };
        await untilDone('publish pods', () => this.#write(replica, node, pods()), {
          signal: both,
          log,
          failed,
        });
        this.#failure = undefined;
      },
      { log, signal },
    );
    const again = (): void => {
      if (replica.isListed) write.push(undefined);
    };
    background('follow this node’s pods', replica.run(signal, again), log, signal);
    background('renew the pods’ lease', this.#renew(again, signal), log, signal);
    return again;
  }

  #lease: string | undefined;
  /** Keys of pods that this agent has told of: one that is not told of any more has gone. */
  readonly #known = new Set<string>();

  async #write(replica: Replica, node: string, told: NodePods | undefined): Promise<void> {
    if (!told) return;
    const wanted = new Map(
      told.pods.map((pod) => [this.#keys.pod(node, pod.namespace, pod.name), encodePod(pod)]),
    );
    // An earlier agent's lease goes on: nobody has to learn anything then.
    this.#lease ??= await this.#inherited(replica, wanted);
    for (const [key, value] of wanted) {
      const there = replica.items.get(key);
      if (there?.value === value && there.lease === this.#lease) continue;
      await this.#put(key, value);
    }
    const addresses = new Set(told.pods.flatMap((pod) => pod.addresses));
    for (const { key, value } of [...replica.items.values()]) {
      if (wanted.has(key)) continue;
      const hasGone =
        told.areAll || this.#known.has(key) || addressesIn(value).some((ip) => addresses.has(ip));
      if (hasGone) await this.#kv.delete(key);
      this.#known.delete(key);
    }
    for (const key of wanted.keys()) this.#known.add(key);
  }

  async #inherited(replica: Replica, wanted: ReadonlyMap<string, string>): Promise<string | undefined> {
    const leases = [...replica.items.values()].flatMap(({ key, lease }) =>
      lease !== '0' && wanted.has(key) ? [lease] : [],
    );
    for (const lease of new Set(leases)) if ((await this.#kv.keepAlive(lease)) > 0) return lease;
    return undefined;
  }

  async #put(key: string, value: string): Promise<void> {
    this.#lease ??= (await this.#kv.grant(this.#ttl)).id;
    try {
      await this.#kv.put(key, value, { lease: this.#lease });
    } catch (error) {
      // The lease has ended; the next attempt takes another.
      if (codeOf(error) === 'NOT_FOUND') this.#lease = undefined;
      throw error;
    }
  }

  /** Three times in a lease's life, and at once: nobody may have done so while policies were switched off. */
  async #renew(again: () => void, signal: AbortSignal): Promise<void> {
    const wait = Math.min((this.#ttl * 1000) / 3, LONGEST_TIMER);
    do {
      const lease = this.#lease;
      if (lease === undefined) continue;
      const renew = (): Promise<number> => this.#kv.keepAlive(lease);
      const left = await untilDone('renew the pods’ lease', renew, { signal, log: this.#log });
      if (left > 0 || this.#lease !== lease) continue;
      this.#lease = undefined;
      again();
    } while (await pause(wait, signal));
  }
}

/** None if the value cannot be read. */
function addressesIn(value: string): readonly Ip[] {
  try {
    return decodePod(value, { namespace: '', name: '', node: '' }).addresses;
  } catch {
    return [];
  }
}
