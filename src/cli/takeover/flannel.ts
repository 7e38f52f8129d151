import { join } from 'node:path';
import { askAgent } from '../../agent/ask.ts';
import { AGENT_SOCKET, DEFAULT_PATHS, type Paths, readAgentOptions } from '../../agent/options.ts';
import { codeOf } from '../../error.ts';
import { backPlan } from '../../takeover/flannel/back.ts';
import type { FoundAgent } from '../../takeover/flannel/found.ts';
import { type Step, takeoverPlan } from '../../takeover/flannel/plan.ts';
import { type Adoption, recordOf } from '../../takeover/flannel/pods.ts';
import { type Actors, carryOut } from '../../takeover/node/carry-out.ts';
import { readBack } from '../../takeover/node/read-back.ts';
import { readFound } from '../../takeover/node/read-found.ts';
import { takeStep, takeStepBack } from '../../takeover/node/steps.ts';
import type { Line } from '../../takeover/plan.ts';
import { newCommand } from '../shared/commands.ts';
import { EXIT, Exit } from '../shared/failure.ts';
import { Progress, print } from '../shared/output.ts';
import { planText } from '../shared/plan-text.ts';
import { readText } from '../shared/read-text.ts';

type Flags = {
  readonly dryRun?: boolean;
  readonly back?: boolean;
  readonly config?: string;
  readonly json?: boolean;
};

export const command = newCommand(
  'Take over this node from flannel: its lease, devices and running pods become flatnet’s, then its rules go. Exit status 1 if something is in the way; nothing has been changed then. May be repeated: it goes on where it stopped.',
  [
    'flatnet takeover flannel --dry-run',
    'flatnet takeover flannel --config /etc/flatnet/agent.json',
    'flatnet takeover flannel --back',
  ],
)
  .option('--dry-run', 'only show the plan')
  .option('--back', 'give the node, with its running pods, back to flannel')
  .option('--config <file>', 'the agent’s configuration, for its paths')
  .option('--json', 'print JSON')
  .action(async ({ dryRun, back, config, json }: Flags) => {
    const paths = await pathsIn(config);
    using progress = new Progress(json === true);
    const { say } = progress;
    const options = { dryRun, json };
    if (back) {
      const plan = async () => backPlan(await readBack(paths, (await findAgent(paths)) !== undefined));
      await perform({ plan, take: takeStepBack, say }, options);
    } else {
      const plan = async () => takeoverPlan(await readFound(paths, await findAgent(paths)));
      const take = (step: Step) => takeStep(step, (pod) => adoptWith(paths, pod));
      await perform({ plan, take, say }, options);
    }
  });

/** Shows the plan, or carries it out and shows what is there then. */
async function perform<S extends Line>(
  actors: Actors<S>,
  { dryRun, json }: { readonly dryRun: boolean | undefined; readonly json: boolean | undefined },
): Promise<void> {
  const first = await actors.plan();
  const isBlocked = first.obstacles.length > 0;
  print(dryRun || isBlocked ? first : await carryOut(actors), json, planText);
  if (isBlocked) throw new Exit(EXIT.failed);
}

async function pathsIn(config: string | undefined): Promise<Paths> {
  if (config === undefined) return DEFAULT_PATHS;
  const { readYaml } = await import('../../cluster/yaml.ts');
  const [first] = readYaml(readText(config, 'CONFIG_INVALID'), config, 'CONFIG_INVALID');
  return readAgentOptions(first?.value ?? {}).paths;
}

/** What this node's agent says of itself; undefined if none answers. */
async function findAgent({ run }: Paths): Promise<FoundAgent | undefined> {
  try {
    return await askAgent(join(run, AGENT_SOCKET), { op: 'status' });
  } catch (error) {
    if (codeOf(error) === 'AGENT_UNREACHABLE') return undefined;
    throw error;
  }
}

async function adoptWith({ run }: Paths, pod: Adoption): Promise<string | undefined> {
  const { refused } = await askAgent(join(run, AGENT_SOCKET), { op: 'adopt', pods: [recordOf(pod)] });
  return refused[0];
}
