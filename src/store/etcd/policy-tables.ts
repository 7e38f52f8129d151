import type { Labels } from '../../cluster/selector.ts';
import { messageOf } from '../../error.ts';
import type { Written } from '../../policy/collect.ts';
import type { PolicyObjectId } from '../../policy/document.ts';
import { namespaceLabels } from '../../policy/kubernetes/pod.ts';
import type { NodeEntity, OwnPod } from '../../policy/model/entity.ts';
import { untold } from '../../policy/untold.ts';
import type { KeyValue } from '../kv/kv.ts';
import type { Tables } from '../policies/assembly.ts';
import type { WrittenSet } from '../policies/network-sets.ts';
import { Table } from '../policies/table.ts';
import { decodePod, type PodPlace } from '../values/pods.ts';
import type { PolicyKeys } from './policy-keys.ts';
import { type ReadObject, readObject } from './policy-objects.ts';

/** A pod as some node has published it. */
type Published = { readonly pod: OwnPod; readonly modRevision: number };

/**
 * The store's keys as tables. A policy that cannot be read is closed by its name and namespace; a pod that
 * cannot be read, or whose namespace cannot, is not known, and so nothing reaches it at its node.
 */
export class PolicyTables implements Tables {
  readonly #policies = new Table<Written>();
  readonly #sets = new Table<WrittenSet>();
  readonly pods = new Table<OwnPod>();
  readonly namespaces = new Table<Labels>();
  readonly serviceAccounts = new Table<Labels>();
  readonly nodes = new Table<NodeEntity>();
  readonly #keys: PolicyKeys;
  /** By `namespace/name` and key: a pod's name may still be published by the node that had it before. */
  readonly #published = new Map<string, Map<string, Published>>();
  readonly #unreadableNamespaces = new Set<string>();
  readonly #problems = new Map<string, string>();

  constructor(keys: PolicyKeys) {
    this.#keys = keys;
  }

  get policies(): readonly Table<Written>[] {
    return [this.#policies];
  }

  get sets(): readonly Table<WrittenSet>[] {
    return [this.#sets];
  }

  /** Keys that do not count, and why. */
  get problems(): ReadonlyMap<string, string> {
    return this.#problems;
  }

  /** `item`: undefined when it is gone. */
  learn(key: string, item: KeyValue | undefined): void {
    this.#problems.delete(key);
    const parsed = this.#keys.kindOf(key);
    if (parsed?.kind === 'object') this.#learnObject(key, parsed.id, item);
    else if (parsed?.kind === 'pod') this.#learnPod(key, parsed, item);
    else if (item) this.#problems.set(key, 'is not a key of flatnet’s');
  }

  #learnObject(key: string, id: PolicyObjectId, item: KeyValue | undefined): void {
    const read = item && readObject(item.value, id);
    switch (id.kind) {
      case 'Namespace':
        this.#learnNamespace(key, id.name, read);
        break;
      case 'NetworkSet':
      case 'GlobalNetworkSet':
        this.#sets.set(key, read && setOf(id, read));
        break;
      default: {
        const spec = read && 'document' in read ? read.document.spec : {};
        const unreadable = read && 'problem' in read ? read.problem : untold(spec);
        this.#policies.set(key, read && { ...id, spec, ...(unreadable !== undefined && { unreadable }) });
      }
    }
  }

  #learnNamespace(key: string, name: string, read: ReadObject | undefined): void {
    const problem = read && 'problem' in read ? read.problem : undefined;
    const wasReadable = !this.#unreadableNamespaces.has(name);
    if (problem === undefined) this.#unreadableNamespaces.delete(name);
    else {
      this.#unreadableNamespaces.add(name);
      this.#problems.set(key, `${problem}; its pods are closed`);
    }
    const labels = read && 'document' in read ? read.document.metadata.labels : undefined;
    this.namespaces.set(name, read && namespaceLabels(name, labels));
    if (wasReadable === (problem === undefined)) return;
    for (const pod of this.#published.keys()) if (pod.startsWith(`${name}/`)) this.#settle(pod);
  }

  #learnPod(key: string, place: PodPlace, item: KeyValue | undefined): void {
    const name = `${place.namespace}/${place.name}`;
    const all = this.#published.get(name) ?? new Map<string, Published>();
    all.delete(key);
    try {
      if (item) all.set(key, publishedIn(item, place));
    } catch (error) {
      this.#problems.set(key, `${messageOf(error)}; the pod is closed`);
    }
    if (all.size > 0) this.#published.set(name, all);
    else this.#published.delete(name);
    this.#settle(name);
  }

  /** The pod that was published last has the name. */
  #settle(name: string): void {
    const all = [...(this.#published.get(name)?.values() ?? [])];
    const last = all.toSorted((a, b) => b.modRevision - a.modRevision)[0]?.pod;
    const isClosed = last && this.#unreadableNamespaces.has(last.namespace);
    this.pods.set(name, isClosed ? undefined : last);
  }
}

/** Throws like `decodePod`. */
function publishedIn({ value, createRevision, modRevision }: KeyValue, place: PodPlace): Published {
  // Of two with one address, the key that was made last tells who has it: another's may outlive its node.
  const since = `${createRevision}`.padStart(16, '0');
  return { pod: { ...decodePod(value, place), since }, modRevision };
}

function setOf({ namespace, name }: PolicyObjectId, read: ReadObject): WrittenSet {
  const of = { ...(namespace !== undefined && { namespace }), name };
  if ('problem' in read) return { ...of, labels: {}, spec: {}, unreadable: read.problem };
  return { ...of, labels: read.document.metadata.labels ?? {}, spec: read.document.spec };
}
