import type { Labels } from '../../cluster/selector.ts';
import { type Collected, collectPolicies, type Written } from '../../policy/collect.ts';
import { namespaceLabels } from '../../policy/kubernetes/pod.ts';
import type { NodeEntity, OwnPod, PodEntity } from '../../policy/model/entity.ts';
import type { PolicyView } from '../../policy/model/view.ts';
import type { Accounts } from './accounts.ts';
import { type ReadSet, readSet, type WrittenSet } from './network-sets.ts';
import type { Table } from './table.ts';

/** All that policies depend on, as a store has it; a table may give way to another. */
export type Tables = {
  /** Of those with one name, the last counts. */
  readonly policies: readonly Table<Written>[];
  readonly sets: readonly Table<WrittenSet>[];
  readonly pods: Table<OwnPod>;
  /** Their labels, with the name. */
  readonly namespaces: Table<Labels>;
  /** Whether there is no pod without its namespace, so that one which is missing is not known yet. */
  readonly haveAllNamespaces?: boolean;
  /** Their labels. */
  readonly serviceAccounts: Table<Labels>;
  /** Absent: nobody tells of all accounts, and those without labels may be missing. */
  readonly accounts?: Accounts;
  readonly nodes: Table<NodeEntity>;
};

/** What tables a view was made of, and how often they had changed. */
type Versions = ReadonlyMap<Table<object>, number>;

const NONE: Labels = {};

/** Makes views of a store's tables. What has not changed stays the same objects. */
export class Assembly {
  readonly #tables: Tables;
  readonly #pods = new WeakMap<OwnPod, PodEntity>();
  readonly #sets = new WeakMap<WrittenSet, ReadSet>();
  /** Namespaces that are not known, as of the last view. */
  #unlabelled: ReadonlyMap<string, Labels> = new Map();
  #nextUnlabelled = new Map<string, Labels>();
  #collected: { readonly of: Versions; readonly are: Collected } | undefined;

  constructor(tables: Tables) {
    this.#tables = tables;
  }

  view(): PolicyView {
    const { sets, pods, nodes, accounts } = this.#tables;
    accounts?.keep(pods.values);
    const read = sets.flatMap(({ values }) => [...values.values()].map((set) => this.#read(set)));
    const { tiers, problems } = this.#collect(read);
    const view = {
      tiers,
      problems,
      pods: new Map([...pods.values].map(([key, pod]) => [key, this.#inherit(key, pod)])),
      others: [...nodes.values.values(), ...read.map(({ set }) => set)],
    };
    this.#unlabelled = this.#nextUnlabelled;
    this.#nextUnlabelled = new Map();
    return view;
  }

  /** The same objects as long as no policy has changed, and no set of which a part is lost. */
  #collect(read: readonly ReadSet[]): Collected {
    const { policies, sets, namespaces } = this.#tables;
    const lost = read.flatMap(({ problem, ...rest }) =>
      problem === undefined ? [] : [{ ...rest, problem }],
    );
    const changing = [...policies, ...(lost.length > 0 ? [...sets, namespaces] : [])];
    const versions: Versions = new Map(changing.map((table) => [table, table.changes]));
    if (!this.#collected || !areEqual(this.#collected.of, versions)) {
      const { tiers, problems } = collectPolicies(
        policies.flatMap(({ values }) => [...values.values()]),
        lost,
      );
      const ofSets = lost.map(({ set: { namespace, name }, problem }) => ({
        policy:
          namespace === undefined
            ? { kind: 'GlobalNetworkSet', name }
            : { kind: 'NetworkSet', namespace, name },
        problem,
        closes: false,
      }));
      this.#collected = { of: versions, are: { tiers, problems: [...problems, ...ofSets] } };
    }
    return this.#collected.are;
  }

  #read(written: WrittenSet): ReadSet {
    const inherited = written.namespace === undefined ? NONE : this.#labelsOf(written.namespace);
    const last = this.#sets.get(written);
    if (last?.set.namespaceLabels === inherited) return last;
    const read = readSet(written, inherited);
    this.#sets.set(written, read);
    return read;
  }

  #inherit(key: string, pod: OwnPod): PodEntity {
    const { namespace, serviceAccount } = pod;
    const ofNamespace = this.#labelsOf(namespace);
    const ofAccount = this.#tables.serviceAccounts.values.get(`${namespace}/${serviceAccount}`) ?? NONE;
    const lacksAccount = this.#tables.accounts?.isLacking(key, pod) ?? false;
    const last = this.#pods.get(pod);
    const isSameAccount =
      last?.serviceAccountLabels === ofAccount && (last.lacksAccount ?? false) === lacksAccount;
    if (last?.namespaceLabels === ofNamespace && isSameAccount) return last;
    const { haveAllNamespaces = false, namespaces } = this.#tables;
    const whole: PodEntity = {
      ...pod,
      namespaceLabels: ofNamespace,
      ...(haveAllNamespaces && !namespaces.values.has(namespace) && { lacksNamespace: true }),
      serviceAccountLabels: ofAccount,
      ...(lacksAccount && { lacksAccount }),
    };
    this.#pods.set(pod, whole);
    return whole;
  }

  /** A namespace that is not known has its name. */
  #labelsOf(namespace: string): Labels {
    const known = this.#tables.namespaces.values.get(namespace) ?? this.#nextUnlabelled.get(namespace);
    if (known) return known;
    const labels = this.#unlabelled.get(namespace) ?? namespaceLabels(namespace);
    this.#nextUnlabelled.set(namespace, labels);
    return labels;
  }
}

function areEqual(some: Versions, others: Versions): boolean {
  return some.size === others.size && [...some].every(([table, changes]) => others.get(table) === changes);
}
