import { isDeepStrictEqual } from 'node:util';
import { background } from '../../async/background.ts';
import { Queue } from '../../async/queue.ts';
import { untilDone } from '../../async/until-done.ts';
import type { NodeFacts } from '../../cluster/node.ts';
import { codeOf, FlatnetError } from '../../error.ts';
import { familyOf } from '../../ip/address.ts';
import type { Cidr } from '../../ip/cidr.ts';
import type { KubernetesClient } from '../../kubernetes/api/client.ts';
import { isOlder } from '../../kubernetes/informer/inventory.ts';
import type { Log } from '../../log.ts';
import type { Claim, Renewal } from '../ports/membership.ts';
import type { KubernetesFeed } from './feed.ts';
import { NODES } from './kinds.ts';
import { encodeAnnotations, type Holding } from './node/annotations.ts';
import type { AnnotationKeys } from './node/keys.ts';
import { annotationsPatch, departurePatch } from './node/patch.ts';
import { type NodeReading, readNode } from './node/read.ts';

export type ClaimContext = {
  readonly client: KubernetesClient;
  readonly keys: AnnotationKeys;
  readonly feed: KubernetesFeed;
  readonly log: Log;
  /** Stops the claim. */
  readonly signal: AbortSignal;
};

/** A node's hold on its Node object: keeps our annotations there, and notices when the podCIDRs change. */
export class NodeClaim implements Claim {
  readonly lost: Promise<never>;
  readonly #context: ClaimContext;
  readonly #fail: (error: unknown) => void;
  readonly #stopped = new AbortController();
  readonly #unfollow: () => void;
  readonly #writes = new Queue();
  #holding: Holding;
  /** The version of our last write, until the feed has seen it. */
  #written: string | undefined;
  /** Why the last write failed. */
  #problem: string | undefined;
  #repairing = false;

  constructor(context: ClaimContext, holding: Holding, written: string) {
    this.#context = context;
    this.#holding = holding;
    this.#written = written;
    const { promise, reject } = Promise.withResolvers<never>();
    this.lost = promise;
    this.#fail = reject;
    // Callers need not handle the rejection.
    promise.catch(() => {});
    this.#unfollow = context.feed.follow(() => this.#onChange());
    context.signal.addEventListener('abort', () => this.stop(), { once: true, signal: this.#stopped.signal });
  }

  get subnets(): readonly Cidr[] {
    return this.#holding.subnets;
  }

  get renewal(): Renewal {
    const { outage } = this.#context.feed;
    const problem = outage?.reason ?? this.#problem;
    return { at: outage?.since ?? new Date(), ...(problem !== undefined && { problem }) };
  }

  async publish(self: NodeFacts): Promise<void> {
    if (self.name !== this.#holding.self.name) {
      throw new FlatnetError(`'${self.name}' is another node`, { code: 'USAGE', operation: 'lease publish' });
    }
    this.#holding = { ...this.#holding, self };
    await this.#writes.run(() => this.#write());
  }

  stop(): void {
    this.#stopped.abort();
    this.#unfollow();
  }

  async release(): Promise<void> {
    this.stop();
    await this.#writes.run(() => leave(this.#context, this.#holding.self.name));
  }

  #onChange(): void {
    const { feed, log } = this.#context;
    if (this.#stopped.signal.aborted) return;
    const reading = feed.state.reading(this.#holding.self.name);
    // An API that has lost its data does not prove that this Node is gone.
    if (!reading && feed.hasLostData) return;
    if (reading && this.#written !== undefined) {
      if (isOlder(reading.version, this.#written)) return;
      this.#written = undefined;
    }
    const loss = this.#lossIn(reading);
    if (loss !== undefined) {
      this.stop();
      this.#fail(loss);
    } else if (reading && this.#differs(reading)) {
      background('write this node again', this.#repair(), log, this.#stopped.signal);
    }
  }

  #lossIn(reading: NodeReading | undefined): FlatnetError | undefined {
    const { self, subnets, instance } = this.#holding;
    if (!reading) return lost(self.name, 'the Node object has been deleted');
    const other = reading.published?.instance;
    if (other !== undefined && other !== instance)
      return lost(self.name, 'another agent runs under this node’s name');
    const families = subnets.map(familyOf);
    const now = reading.subnets.filter((subnet) => families.includes(familyOf(subnet)));
    if (!isDeepStrictEqual(now, subnets)) {
      return lost(self.name, `spec.podCIDRs is now ${now.join(', ') || 'empty'}, not ${subnets.join(', ')}`);
    }
    if (subnets.length === 0) return undefined;
    const refusal = this.#context.feed.state.refusal(self.name);
    return refusal === undefined ? undefined : lost(self.name, refusal);
  }

  #differs({ annotations }: NodeReading): boolean {
    return annotationsPatch(this.#wanted(annotations), annotations) !== undefined;
  }

  #wanted(current: NodeReading['annotations']): Record<string, string | null> {
    return encodeAnnotations(this.#context.keys, this.#holding, current);
  }

  /** Writes our annotations as soon as the API allows it. */
  async #repair(): Promise<void> {
    if (this.#repairing) return;
    this.#repairing = true;
    try {
      await untilDone('write this node', () => this.#writes.run(() => this.#write()), {
        signal: this.#stopped.signal,
        log: this.#context.log,
      });
    } finally {
      this.#repairing = false;
    }
  }

  async #write(): Promise<void> {
    try {
      this.#written = await writeNode(this.#context, this.#holding);
      this.#problem = undefined;
    } catch (error) {
      this.#problem = String(error instanceof Error ? error.message : error);
      throw error;
    }
  }
}

/** Writes a node's annotations if they differ; returns the version of the Node that has them. */
export async function writeNode(
  { client, keys }: Pick<ClaimContext, 'client' | 'keys'>,
  holding: Holding,
): Promise<string> {
  const at = { name: holding.self.name };
  const { annotations, version } = readNode(keys, await client.get(NODES, at));
  const patch = annotationsPatch(encodeAnnotations(keys, holding, annotations), annotations);
  if (!patch) return version;
  // As flannel: the right to write a Node's status is the only one to write that an agent needs.
  const written = await client.patch(NODES, at, 'strategic', patch, { subresource: 'status' });
  return written.metadata.resourceVersion ?? version;
}

/** Removes a node's annotations. Returns whether there were any. */
export async function leave(
  { client, keys }: Pick<ClaimContext, 'client' | 'keys'>,
  name: string,
): Promise<boolean> {
  try {
    const { annotations } = readNode(keys, await client.get(NODES, { name }));
    const patch = departurePatch(keys, annotations);
    if (patch) await client.patch(NODES, { name }, 'strategic', patch, { subresource: 'status' });
    return patch !== undefined;
  } catch (error) {
    if (codeOf(error) === 'NOT_FOUND') return false;
    throw error;
  }
}

function lost(object: string, text: string): FlatnetError {
  return new FlatnetError(text, { code: 'LEASE_LOST', operation: 'lease hold', object });
}
