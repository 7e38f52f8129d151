import { apply } from '../../lab/pods/apply.ts';
import { Lab } from '../../lab/record/lab.ts';
import { newCommand } from '../shared/commands.ts';
import { print } from '../shared/output.ts';
import { fileOption } from '../shared/resource-file.ts';
import { describeReport, type LabOptions, labOptions, manifestsOf } from './shared.ts';

export const command = labOptions(
  newCommand(
    'Create or update objects from Kubernetes manifests: Pod, Deployment, DaemonSet, Namespace; and network policies, with Tiers and network sets. Objects that already match are left alone. No images are pulled: containers run on this machine’s file system. A container that exits is not restarted.',
    [
      'flatnet lab apply -f policies.yaml',
      'flatnet lab apply -f examples/pod-two-container.yaml',
      'flatnet lab apply -f - <web.yaml',
    ],
  ),
)
  .addOption(fileOption('YAML or JSON, any number of documents').makeOptionMandatory())
  .action(async ({ lab: name, json, file }: LabOptions & { readonly file: readonly string[] }) => {
    const manifests = manifestsOf(file);
    print(await Lab.change(name, (lab) => apply(lab, manifests)), json, describeReport);
  });
