import { unapply } from '../../lab/pods/apply.ts';
import { Lab } from '../../lab/record/lab.ts';
import { newCommand } from '../shared/commands.ts';
import { print } from '../shared/output.ts';
import { fileOption } from '../shared/resource-file.ts';
import { describeReport, type LabOptions, labOptions, manifestsOf } from './shared.ts';

export const command = labOptions(
  newCommand(
    'Delete the objects in Kubernetes manifests, with their pods. Objects that do not exist are not an error.',
    ['flatnet lab delete -f examples/pod-two-container.yaml'],
  ),
)
  .addOption(fileOption('YAML or JSON, any number of documents').makeOptionMandatory())
  .action(async ({ lab: name, json, file }: LabOptions & { readonly file: readonly string[] }) => {
    const manifests = manifestsOf(file);
    print(await Lab.change(name, (lab) => unapply(lab, manifests)), json, describeReport);
  });
