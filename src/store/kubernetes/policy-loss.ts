import type { PolicyView } from '../../policy/model/view.ts';
import { type Problem, timeText } from '../../problem.ts';

/**
 * Notices an API that came back without its data. No cluster loses its last Node while an agent runs on one:
 * until there are some again, what was last known stays in force. Policies that were lost so stay until there
 * are others: nobody has deleted them.
 */
export class PolicyLoss {
  /** The last view that was believed. */
  #last: PolicyView | undefined;
  /** Since when there are no Nodes. */
  #lost: Date | undefined;
  /** Since when the policies are not the API's. */
  #kept: Date | undefined;

  get problems(): readonly Problem[] {
    if (this.#lost) return [lost(this.#lost)];
    return this.#kept ? [kept(this.#kept)] : [];
  }

  /**
   * What is to be believed of what the API shows; undefined: nothing, for now. `isDoubtful`: some of it may
   * be out of date, so that what is missing may belong to a loss that is not known as a whole yet.
   */
  believe(view: PolicyView, isDoubtful: boolean): PolicyView | undefined {
    const last = this.#last;
    if (last && hasNodes(last) && !hasNodes(view)) {
      this.#lost ??= new Date();
      return undefined;
    }
    if (last && isDoubtful && isEmptied(last, view)) return undefined;
    this.#kept ??= this.#lost;
    this.#lost = undefined;
    if (!last || hasPolicies(view) || !hasPolicies(last)) this.#kept = undefined;
    this.#last = last && this.#kept ? { ...view, tiers: last.tiers, problems: last.problems } : view;
    return this.#last;
  }
}

const hasNodes = ({ others }: PolicyView): boolean => others.some(({ kind }) => kind === 'node');

const hasPolicies = ({ tiers }: PolicyView): boolean => tiers.some(({ policies }) => policies.length > 0);

function isEmptied(last: PolicyView, view: PolicyView): boolean {
  return (
    (hasPolicies(last) && !hasPolicies(view)) ||
    (last.pods.size > 0 && view.pods.size === 0) ||
    [...view.pods].some(([name, pod]) => pod.lacksNamespace && hadNamespace(last, name))
  );
}

function hadNamespace({ pods }: PolicyView, name: string): boolean {
  const pod = pods.get(name);
  return pod !== undefined && !pod.lacksNamespace;
}

function lost(since: Date): Problem {
  return {
    id: 'store-lost-data',
    severity: 'error',
    what: `the API server came back without its data at ${timeText(since)}`,
    cause:
      'every Node was missing; the policies and pods last known stay in force, and new pods have to wait',
    fix: 'restore etcd’s backup, or let the kubelets register their Nodes again',
  };
}

function kept(since: Date): Problem {
  return {
    id: 'policies-kept',
    severity: 'error',
    what: `the API server has no policies since it lost its data at ${timeText(since)}`,
    cause: 'those last known stay in force, as nobody has deleted them',
    fix: 'apply them again; if there are to be none, restart the agents',
  };
}
