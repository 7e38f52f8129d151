import { readDocuments } from '../../cluster/documents.ts';
import { FlatnetError } from '../../error.ts';
import { readObject } from '../../takeover/calico/object.ts';
import { calicoPlan } from '../../takeover/calico/plan.ts';
import { newCommand } from '../shared/commands.ts';
import { EXIT, Exit } from '../shared/failure.ts';
import { print } from '../shared/output.ts';
import { planText } from '../shared/plan-text.ts';
import { readText } from '../shared/read-text.ts';

type Flags = { readonly dryRun?: boolean; readonly from: string; readonly json?: boolean };

export const command = newCommand(
  'Show what becomes of a cluster’s Calico objects: what maps onto flatnet, and what does not. Changes nothing. Exit status 1 if something is in the way.',
  [
    'kubectl get ippools.crd.projectcalico.org,bgppeers.crd.projectcalico.org,nodes -o yaml | flatnet takeover calico --dry-run --from -',
  ],
)
  .option('--dry-run', 'only show the plan: so far, there is nothing else')
  .requiredOption('--from <file>', 'the objects, YAML or JSON; - is standard input')
  .option('--json', 'print JSON')
  .action(({ dryRun, from, json }: Flags) => {
    if (!dryRun) {
      const fix = 'add --dry-run, and follow the plan: docs/from-calico.md';
      throw new FlatnetError('cannot be carried out by flatnet yet', {
        code: 'USAGE',
        object: 'the takeover',
        fix,
      });
    }
    const items = readDocuments(readText(from, 'CONFIG_INVALID'), from, 'CONFIG_INVALID');
    const plan = calicoPlan(items.map(({ value, where }) => readObject(value, where)));
    print(plan, json, planText);
    if (plan.obstacles.length > 0) throw new Exit(EXIT.failed);
  });
