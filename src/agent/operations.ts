import type { CniService } from '../cni/service.ts';
import type { Handlers } from '../companions/companion.ts';
import { changeCommand, changeText, command } from '../state/print.ts';
import { agentStatus, type StatusSources } from './status.ts';

/** The operations of the local API: the agent's, CNI's and the companions'. */
export function operations(sources: StatusSources, cni: CniService): Handlers {
  const { companions } = sources;
  const { reconciler } = sources.loop;
  return {
    ...companions.handlers,
    cni: (request) => cni.handle(request),
    status: async () => agentStatus(sources),
    diff: async () => ({ changes: (await reconciler.preview()).map(changeText) }),
    desired: async () => ({
      commands: [...reconciler.desired.values()].map((item) => command(item, 'add')),
    }),
    reconcile: async () => {
      const { done, undone, duration } = await reconciler.run();
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
}
