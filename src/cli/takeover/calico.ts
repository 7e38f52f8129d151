import { readDocuments } from '../../cluster/documents.ts';
import { FlatnetError } from '../../error.ts';
import { type CalicoObject, readObject } from '../../takeover/calico/object.ts';
import { calicoPlan } from '../../takeover/calico/plan.ts';
import { newCommand } from '../shared/commands.ts';
import { EXIT, Exit } from '../shared/failure.ts';
import { print } from '../shared/output.ts';
import { planText } from '../shared/plan-text.ts';
import { readText } from '../shared/read-text.ts';

type Flags = {
  readonly dryRun?: boolean;
  readonly from?: string;
  readonly kubeconfig?: string;
  readonly json?: boolean;
};

export const command = newCommand(
  'Show what becomes of a cluster’s Calico objects: what maps onto flatnet, and what does not. Changes nothing. Exit status 1 if something is in the way.',
  [
    'flatnet takeover calico --dry-run --kubeconfig ~/.kube/config',
    'flatnet takeover calico --dry-run --from calico.yaml',
  ],
)
  .option('--dry-run', 'only show the plan: so far, there is nothing else')
  .option('--from <file>', 'read the objects from YAML or JSON; - is standard input')
  .option('--kubeconfig <file>', 'read them from this API server; default: as kubectl')
  .option('--json', 'print JSON')
  .action(async ({ dryRun, from, kubeconfig, json }: Flags) => {
    if (!dryRun) {
      const fix = 'add --dry-run, and follow the plan: docs/from-calico.md';
      throw new FlatnetError('cannot be carried out by flatnet yet', {
        code: 'USAGE',
        object: 'the takeover',
        fix,
      });
    }
    const plan = calicoPlan(from === undefined ? await fromServer(kubeconfig) : fromFile(from));
    print(plan, json, planText);
    if (plan.obstacles.length > 0) throw new Exit(EXIT.failed);
  });

function fromFile(file: string): CalicoObject[] {
  const items = readDocuments(readText(file, 'CONFIG_INVALID'), file, 'CONFIG_INVALID');
  return items.map(({ value, where }) => readObject(value, where));
}

async function fromServer(kubeconfig: string | undefined): Promise<CalicoObject[]> {
  // A file needs no client of the API.
  const { readCalicoObjects } = await import('../../takeover/node/calico-objects.ts');
  return readCalicoObjects(kubeconfig);
}
