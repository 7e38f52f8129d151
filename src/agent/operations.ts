import type { CniReply } from '../cni/context.ts';
import type { CniService } from '../cni/service.ts';
import type { Adopted } from '../cni/verbs/adopt.ts';
import type { Handlers, HandlersOf } from '../companions/companion.ts';
import { strangerProblems } from '../firewall/strangers.ts';
import type { Explanation } from '../policy/explain/explain.ts';
import type { ProbePage } from '../probe/self-test.ts';
import { changeCommand, changeText, command } from '../state/print.ts';
import type { FlowsShown, PoliciesShown, PolicyWatch } from './policy/watch.ts';
import { type AgentStatus, agentStatus, type StatusSources } from './status.ts';

/** The agent's own operations, with their answers. Lines are commands, or descriptions of changes. */
export type AgentOperations = {
  /** With `env` and `stdin`, as a CNI plugin gets them. */
  readonly cni: CniReply;
  /** With `pods`: proposed records of pods that other plugins have attached. */
  readonly adopt: Adopted;
  readonly status: AgentStatus;
  readonly diff: { readonly changes: readonly string[] };
  /** With `skip` and `limit`: probes some of the peers, by name. */
  readonly probe: ProbePage;
  readonly desired: { readonly commands: readonly string[] };
  /** With `pod`: `NAMESPACE/NAME`. */
  readonly policies: PoliciesShown;
  /** With the parts of a `Question`. */
  readonly explain: Explanation;
  /** With `after`: the number of the last flow that the asker knows. */
  readonly flows: FlowsShown;
  readonly reconcile: {
    readonly done: readonly string[];
    readonly failed: readonly string[];
    readonly waiting: readonly string[];
    /** Milliseconds. */
    readonly duration: number;
  };
};

/** The operations of the local API: the agent's, CNI's and the companions'. */
export function operations(sources: StatusSources, cni: CniService, policies: PolicyWatch): Handlers {
  const { companions, selfTest } = sources;
  const { reconciler } = sources.loop;
  const own: HandlersOf<AgentOperations> = {
    cni: (request) => cni.handle(request),
    adopt: ({ pods }) => cni.adopt(pods),
    status: async () => {
      const { figures, problems } = await policies.figures();
      const strangers = await strangerProblems(reconciler.desired);
      return agentStatus(sources, [...strangers, ...problems], figures);
    },
    diff: async () => ({ changes: (await reconciler.preview()).map(changeText) }),
    probe: ({ skip, limit }) => selfTest.page(Number(skip ?? 0), Number(limit ?? 1)),
    desired: async () => ({
      commands: [...reconciler.desired.values()].map((item) => command(item, 'add')),
    }),
    policies: ({ pod }) => policies.show(`${pod}`),
    explain: async ({ from, to, protocol = 'tcp', port }) =>
      policies.explain({
        from: `${from}`,
        to: `${to}`,
        protocol: `${protocol}`,
        ...(port !== undefined && { port: Number(port) }),
      }),
    flows: async ({ after }) => policies.flows(Number(after ?? 0)),
    reconcile: async () => {
      const { done, undone, duration } = await sources.loop.run();
      const reasons = (failed: boolean) =>
        undone.filter(({ error }) => (error !== undefined) === failed).map(({ reason }) => reason);
      return {
        done: done.map(changeCommand),
        failed: reasons(true),
        waiting: reasons(false),
        duration,
      };
    },
  };
  return { ...companions.handlers, ...own };
}
