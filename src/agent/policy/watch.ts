import { titleNamed } from '../../cluster/node.ts';
import { messageOf } from '../../error.ts';
import { isIp } from '../../ip/address.ts';
import type { Explanation } from '../../policy/explain/explain.ts';
import { answer, type Question } from '../../policy/explain/question.ts';
import type { NodePolicies } from '../../policy/node/contributions.ts';
import type { InForce } from '../../policy/observe/in-force.ts';
import { type Problem, problemText, warning } from '../../problem.ts';
import type { Change } from '../../state/item.ts';
import { type PolicyFigures, policyFigures } from './figures.ts';
import type { PolicyLog } from './log.ts';
import type { RecentFlows } from './recent.ts';
import { noPolicies, refuseWaiting, showPolicies } from './show.ts';

/** What is in force for a pod, and since when that is counted. */
export type PoliciesShown = {
  readonly interfaces: readonly InForce[];
  /** When this agent last wrote the tables, with new counters. Absent: it has found them as they are. */
  readonly written?: string;
  /** Whether established connections bypass the tables; if not, why. */
  readonly offload: string;
};

/** The flows that were logged last. */
export type FlowsShown = RecentFlows & {
  /** Why there are none, or not all that are denied. */
  readonly note?: string;
};

/** Without figures, no policies are in force, or a problem says why. */
export type CountedPolicies = { readonly figures?: PolicyFigures; readonly problems: readonly Problem[] };

/** Sees this node's policies at work. */
export class PolicyWatch {
  readonly #node: () => NodePolicies | undefined;
  readonly #log: PolicyLog;
  readonly #offload: () => string;
  readonly #netns: string | undefined;
  #written: Date | undefined;
  /** What the agent knows, and since when, until the kernel holds it. */
  #known: { readonly view: unknown; readonly since: number | undefined } | undefined;
  #lastChange: number | undefined;

  /** `node`: what is in force now; `netns`: a path, by default the thread's own. */
  constructor(node: () => NodePolicies | undefined, log: PolicyLog, offload: () => string, netns?: string) {
    this.#node = node;
    this.#log = log;
    this.#offload = offload;
    this.#netns = netns;
  }

  /** Learns what has been changed in the kernel. */
  done(changes: readonly Change[]): void {
    const tables = this.#node()?.compiled.tables ?? [];
    const isOne = ({ item }: Change): boolean =>
      item.kind === 'nft-table' && tables.some(({ table }) => table === item.table);
    if (changes.some(isOne)) this.#written = new Date();
  }

  /** Learns that the agent knows these policies now. */
  learned(view: unknown): void {
    if (view !== this.#known?.view) this.#known = { view, since: performance.now() };
  }

  /** Learns that the kernel holds what follows from these. */
  settled(view: unknown): void {
    if (view === undefined || view !== this.#known?.view || this.#known.since === undefined) return;
    this.#lastChange = (performance.now() - this.#known.since) / 1000;
    this.#known = { view, since: undefined };
  }

  /** Seconds that the last change took; undefined if there was none. */
  get lastChange(): number | undefined {
    return this.#lastChange;
  }

  /** The status is read where the kernel refuses things: then, too, it says all else. */
  async figures(): Promise<CountedPolicies> {
    const policies = this.#node();
    if (!policies) return { problems: [] };
    try {
      const { unlogged, ...counted } = await policyFigures(policies, this.#netns);
      const { lastChange } = this;
      return {
        figures: {
          ...counted,
          unlogged: unlogged + this.#log.lost,
          ...(lastChange !== undefined && { lastChange }),
        },
        problems: [],
      };
    } catch (error) {
      const what = 'what network policies deny cannot be read';
      return { problems: [warning('kernel-unreadable', what, messageOf(error))] };
    }
  }

  /** Throws like `showPolicies`. */
  async show(pod: string): Promise<PoliciesShown> {
    const interfaces = await showPolicies(this.#node(), pod);
    const written = this.#written?.toISOString();
    return { interfaces, offload: this.#offload(), ...(written !== undefined && { written }) };
  }

  /**
   * By what is in force now. Throws NOT_FOUND if no policies are, or nobody knows yet which are about an end,
   * and CONFIG_INVALID for the question.
   */
  explain(question: Question): Explanation {
    const policies = this.#node();
    if (!policies) throw noPolicies();
    for (const end of [question.from, question.to])
      refuseWaiting(policies.waiting, isIp(end) ? end : titleNamed(end));
    return answer(policies.cluster, question);
  }

  /** `after`: the number of the last flow that the asker knows. */
  flows(after: number): FlowsShown {
    const note = this.#note();
    return { ...this.#log.recent(after), ...(note !== undefined && { note }) };
  }

  #note(): string | undefined {
    const policies = this.#node();
    if (!policies) return 'no policies are in force here';
    const { problem } = this.#log;
    if (problem) return problemText(problem);
    if (policies.logging?.denied) return undefined;
    return 'denied connections are not logged: set policy to {"logDenied": true} in the network’s configuration';
  }
}
