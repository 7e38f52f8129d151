import { within } from '../async/within.ts';
import { messageOf } from '../error.ts';
import { SILENT } from '../log.ts';
import type { ProblemId } from '../problem.ts';
import { openStore, storeText } from '../store/open.ts';
import { type Finding, note, ok, wrong } from './finding.ts';
import type { Patient } from './patient.ts';

/** Milliseconds to wait for the store. */
const PATIENCE = 5000;

/** Told by the probes themselves. */
const OF_PATHS: readonly ProblemId[] = [
  'path-blocked',
  'path-cuts-large-packets',
  'path-loses-packets',
  'peer-silent',
];

/** Whether the agent runs, and all that it says is wrong. */
export function agentFindings({ status, silence, view }: Patient): Finding[] {
  if (!status) {
    const known = view ? 'what follows is from the view that it last saved' : 'it has saved no view either';
    return [
      wrong('agent', 'the agent does not answer: the kernel keeps its state, but nothing is repaired', {
        cause: silence,
        fix: `start it; ${known}`,
      }),
    ];
  }
  const { node, notReady } = status;
  const running = `the agent of ${node} runs (pid ${status.pid})`;
  return [
    notReady === undefined
      ? ok('agent', running)
      : wrong('agent', `${running}, but is not ready: ${notReady}`),
    ...status.problems
      .filter(({ id }) => !OF_PATHS.includes(id))
      .map(({ what, cause, fix }) => wrong('agent', what, { cause, fix })),
  ];
}

/** Whether this node reaches the store by itself, and finds a network there. */
export async function storeFindings({ options }: Patient): Promise<Finding[]> {
  if (!options) return [note('store', 'not asked: no --config says where it is')];
  const where = storeText(options.store);
  const fix = 'start it, or correct store in the agent’s configuration';
  try {
    const { store } = await openStore(options.store, SILENT);
    const read = store.network.read().finally(() => store.close());
    if (await within(PATIENCE, read, undefined)) return [ok('store', `${where} has the network`)];
    return [wrong('store', `${where} does not answer within ${PATIENCE / 1000} s`, { fix })];
  } catch (error) {
    return [wrong('store', `${where}: the network cannot be read`, { cause: messageOf(error), fix })];
  }
}
