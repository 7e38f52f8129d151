import { unapply } from '../../lab/pods/apply.ts';
import { Lab } from '../../lab/record/lab.ts';
import { newCommand } from '../shared/commands.ts';
import { print } from '../shared/output.ts';
import { describeReport, type LabOptions, labOptions, manifestsOf } from './shared.ts';

export const command = labOptions(
  newCommand(
    'Delete the objects in Kubernetes manifests, with their pods. Objects that do not exist are not an error.',
    ['flatnet lab delete -f examples/pod-two-container.yaml'],
  ),
)
  .requiredOption('-f, --file <file>', 'YAML or JSON, any number of documents; - is standard input')
  .action(async ({ lab: name, json, file }: LabOptions & { readonly file: string }) => {
    const manifests = manifestsOf(file);
    print(await Lab.change(name, (lab) => unapply(lab, manifests)), json, describeReport);
  });
