import { isOnBridge, type LocalPod, podTitle } from '../../cluster/node.ts';
import type { Ip } from '../../ip/address.ts';
import type { Cidr } from '../../ip/cidr.ts';
import { fnv32 } from '../../ip/fnv.ts';
import type { Contribution } from '../../state/contributions.ts';
import { equal } from '../../state/kind.ts';
import { type NftElementItem, nftElement } from '../../state/kinds/nft-element.ts';
import { type Compiled, compilePolicies } from '../compile/compile.ts';
import { Excess } from '../compile/excess.ts';
import type { PolicyFacts } from '../compile/facts.ts';
import { Memory } from '../compile/memory.ts';
import { type CompiledStaged, StagedCompiler } from '../compile/staged/compile.ts';
import { endedTable } from '../flows/table.ts';
import type { PolicyView } from '../model/view.ts';
import { trusted } from '../names/resolvers.ts';
import { type Observed, observationItems } from '../names/table.ts';
import { type Wanted, wantedNames } from '../names/wanted.ts';
import { closedPods, closedPort, multicastTable } from './multicast.ts';
import { SubjectFinder, type Subjects } from './subjects.ts';

/** How many contributions the directory of a cluster is divided into: a change concerns one of them. */
const PARTS = 64;

/** What is known of domain names here. */
export type KnownNames = {
  /** The names of each address. A change makes a new map. */
  readonly addresses: ReadonlyMap<Ip, readonly string[]>;
  /** How the answers to pods are seen. Absent: they are not. */
  readonly observed?: Observed;
  /** The node's own resolvers. */
  readonly resolvers: readonly Ip[];
};

const NO_NAMES: KnownNames = { addresses: new Map(), resolvers: [] };

type OfNode = Pick<PolicyFacts, 'subnets' | 'families' | 'devices' | 'bridge' | 'logging'> & {
  readonly names?: KnownNames | undefined;
  /** Further resolvers that are believed. */
  readonly resolvers?: readonly Cidr[] | undefined;
  /** Whether connections that are no longer allowed are ended. Absent: they go on. */
  readonly cuts?: boolean;
};

export type NodePolicies = {
  readonly contributions: readonly Contribution[];
  /** Pods that the store does not know yet. */
  readonly waiting: readonly LocalPod[];
  readonly compiled: Compiled;
  /** What counts for staged policies; absent where these would change nothing. */
  readonly staged: CompiledStaged | undefined;
  /** This node's pods as they were compiled. */
  readonly subjects: Subjects['subjects'];
  /** Why nothing counts for staged policies. */
  readonly uncounted?: string;
  /** The cluster, with this node's pods as they are here, and the policies in force. */
  readonly cluster: Pick<PolicyFacts, 'tiers' | 'entities' | 'names'>;
  readonly logging: PolicyFacts['logging'];
  /** The names in force here. */
  readonly wanted: Wanted;
};

/** What a node holds for its policies: what has not changed since the last call stays the same objects. */
export class PolicyPart {
  readonly #finder = new SubjectFinder();
  readonly #memory = new Memory();
  readonly #stagedCompiler = new StagedCompiler();
  #staged: Contribution | undefined;
  #directory: readonly Contribution[] = [];
  #tables: Contribution | undefined;
  #observation: Contribution | undefined;
  #multicast: Contribution | undefined;
  #pods = new WeakMap<LocalPod, Contribution>();

  of(
    pods: readonly LocalPod[],
    view: PolicyView,
    { names = NO_NAMES, resolvers = [], cuts, ...node }: OfNode,
  ): NodePolicies {
    const { subjects, waiting, entities } = this.#finder.find(pods, view);
    const cluster = {
      tiers: view.tiers,
      entities: [...entities, ...view.others],
      names: names.addresses,
    };
    const facts = {
      ...node,
      ...cluster,
      subjects: [...subjects.values()],
      waiting: [...new Set(waiting.flatMap(({ addresses }) => addresses))],
    };
    const compiled = compilePolicies(facts, this.#memory);
    const { tiers } = compiled;
    const found = this.#stagedCompiler.compile({ ...facts, tiers });
    const staged = found instanceof Excess ? undefined : found;
    const wanted = wantedNames(
      tiers,
      [...subjects.values()].map(({ pod }) => pod),
    );
    const { tables, directory } = compiled;
    const isBridged = (pod: LocalPod): boolean => isOnBridge(pod, node.bridge);
    const bridged = new Map([...subjects].filter(([pod]) => isBridged(pod)));
    const closed = closedPods(bridged, compiled.verdicts.ingress);
    this.#tables = reuse(this.#tables, {
      owner: { part: 'policy', name: 'this node' },
      items: [...tables, ...(cuts ? node.families.map(endedTable) : [])],
      warnings: [],
    });
    const toNobody = [...closed, ...waiting.filter(isBridged)];
    this.#multicast = reuse(this.#multicast, {
      owner: { part: 'policy', name: 'multicast on the bridge', id: MULTICAST },
      items: pods.some(isBridged) ? [multicastTable, ...toNobody.flatMap(closedPort)] : [],
      warnings: [],
    });
    this.#directory = divide(directory).map((items, i) =>
      reuse(this.#directory[i], {
        owner: { part: 'policy', name: 'who is who', id: `${i}` },
        items,
        warnings: [],
      }),
    );
    const own = [...subjects].map(([pod, { pod: entity }]) => {
      const items = compiled.pods.get(entity)?.items ?? [];
      const made = reuse(this.#pods.get(pod), {
        owner: { part: 'policy', name: podTitle(pod), id: `${pod.containerId} ${pod.ifName}` },
        items,
        warnings: [],
      });
      this.#pods.set(pod, made);
      return made;
    });
    this.#observation = reuse(this.#observation, {
      owner: { part: 'policy', name: 'domain names' },
      items:
        names.observed && wanted.patterns.size > 0
          ? observationItems({
              observed: names.observed,
              askers: wanted.askers,
              resolvers: trusted(entities, names.resolvers, resolvers),
              families: node.families,
            })
          : [],
      warnings: [],
    });
    this.#staged = staged && reuse(this.#staged, stagedContribution(staged));
    const others = this.#staged ? [this.#observation, this.#staged] : [this.#observation];
    const contributions = [this.#tables, this.#multicast, ...this.#directory, ...own, ...others];
    return {
      contributions,
      waiting,
      compiled,
      staged,
      ...(found instanceof Excess && { uncounted: found.message }),
      subjects,
      cluster: { ...cluster, tiers },
      logging: node.logging,
      wanted,
    };
  }
}

/** Ids, so that the node takes pods also where the kernel refuses these: no connection is judged by them. */
const [STAGED, MULTICAST] = ['staged', 'multicast'];

/** Whether connections are judged by what an owner contributes. */
export function judgesConnections({ part, id }: Contribution['owner']): boolean {
  return part === 'policy' && id !== STAGED && id !== MULTICAST;
}

function stagedContribution({ tables, directory, pods }: CompiledStaged): Contribution {
  const counting = [...pods.values()].flatMap((all) => all.map(({ item }) => item));
  const items = [...tables, ...directory, ...counting];
  return { owner: { part: 'policy', name: 'staged policies', id: STAGED }, items, warnings: [] };
}

function divide(items: readonly NftElementItem[]): readonly NftElementItem[][] {
  const parts = Array.from({ length: PARTS }, (): NftElementItem[] => []);
  for (const item of items) parts[fnv32(nftElement.key(item)) % PARTS]?.push(item);
  return parts;
}

function reuse(last: Contribution | undefined, next: Contribution): Contribution {
  return last && equal(last, next) ? last : next;
}
