import { randomUUID } from 'node:crypto';
import type { KubernetesClient } from '../../kubernetes/api/client.ts';
import { getIfAny } from '../../kubernetes/change.ts';
import { elect } from '../../kubernetes/election/election.ts';
import type { Log } from '../../log.ts';
import type { Duties } from '../ports/duties.ts';
import { NODES } from './kinds.ts';

/** The Lease object whose holder does what is to be done once. */
const LEASE = 'flatnet-collector';

/** Duties of the agent that holds a Lease in flatnet's namespace. */
export class KubernetesDuties implements Duties {
  readonly #client: KubernetesClient;
  readonly #namespace: string;
  readonly #log: Log;

  constructor(client: KubernetesClient, namespace: string, log: Log) {
    this.#client = client;
    this.#namespace = namespace;
    this.#log = log;
  }

  share(node: string, work: (signal: AbortSignal) => Promise<void>, signal: AbortSignal): Promise<void> {
    const at = { namespace: this.#namespace, name: LEASE };
    const identity = `${node}_${randomUUID()}`;
    return elect({ client: this.#client, log: this.#log, at, identity, signal }, work);
  }

  /** Its Node object is what makes a node. */
  async isGone(node: string): Promise<boolean> {
    return (await getIfAny(this.#client, NODES, { name: node })) === undefined;
  }
}
