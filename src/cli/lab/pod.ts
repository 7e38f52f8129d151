import { FlatnetError } from '../../error.ts';
import { createPodAnywhere, deletePod } from '../../lab/pods/pod.ts';
import { findPod, fullName, podStatus, readPods } from '../../lab/pods/record.ts';
import { listener } from '../../lab/pods/spec.ts';
import { Lab } from '../../lab/record/lab.ts';
import { splitPodName } from '../../lab/record/names.ts';
import { collect, integer, newCommand } from '../shared/commands.ts';
import { print } from '../shared/output.ts';
import { type LabOptions, labOptions, podTable } from './shared.ts';

type CreateOptions = LabOptions & {
  readonly namespace: string;
  readonly node?: string;
  readonly label?: readonly (readonly [string, string])[];
  readonly annotation?: readonly (readonly [string, string])[];
  readonly listen?: readonly number[];
};

export const command = newCommand('Create, list or delete pods.');

const create = labOptions(
  newCommand(
    'Create a pod: a sandbox, wired by CNI. Without --node it goes to the node with the fewest pods.',
    [
      'flatnet lab pod create web --listen 80',
      'flatnet lab pod create db --node node2 --label app=db',
      `flatnet lab pod create dns --annotation 'cni.projectcalico.org/ipAddrs=["10.244.0.53"]'`,
    ],
  ),
)
  .argument('<pod>', 'a DNS label, or NAMESPACE/POD')
  .option('-n, --namespace <namespace>', 'namespace of the pod', 'default')
  .option('--node <node>', 'where to run it')
  .option('--label <key=value>', 'may be repeated', collect(label))
  .option('--annotation <key=value>', 'passed to CNI; may be repeated', collect(annotation))
  .option(
    '--listen <port>',
    'answer HTTP on this port with the pod’s name; may be repeated',
    collect(integer(1, 65535)),
  )
  .action(async (text: string, options: CreateOptions) => {
    const { namespace, name } = splitPodName(text, options.namespace);
    const pod = await Lab.change(options.lab, (lab) =>
      createPodAnywhere(lab, {
        namespace,
        name,
        labels: Object.fromEntries(options.label ?? []),
        annotations: Object.fromEntries(options.annotation ?? []),
        containers: listener(options.listen ?? []),
        ...(options.node === undefined ? {} : { nodeName: options.node }),
      }),
    );
    print(pod, options.json, () => `pod ${fullName(pod)} on ${pod.node}: ${pod.addresses.join(' ')}`);
  });

const list = labOptions(
  newCommand('List the pods.', ['flatnet lab pod list', 'flatnet lab pod list -n team-a']),
)
  .option('-n, --namespace <namespace>', 'only pods of this namespace')
  .action(({ lab: name, json, namespace }: LabOptions & { readonly namespace?: string }) => {
    const lab = Lab.open(name);
    const pods = readPods(lab)
      .filter((pod) => namespace === undefined || pod.namespace === namespace)
      .map((pod) => podStatus(lab, pod));
    print(pods, json, () => podTable(pods) || 'no pods');
  });

const remove = labOptions(
  newCommand('Delete pods and free their addresses.', ['flatnet lab pod delete web db']),
)
  .argument('<pods...>', 'names, or NAMESPACE/POD')
  .option('-n, --namespace <namespace>', 'namespace of the pods', 'default')
  .action(async (texts: readonly string[], options: LabOptions & { readonly namespace: string }) => {
    const names = texts.map((text) => splitPodName(text, options.namespace));
    const deleted = await Lab.change(options.lab, async (lab) => {
      const pods = names.map(({ namespace, name }) => findPod(lab, namespace, name));
      for (const pod of pods) await deletePod(lab, pod);
      return pods.map(fullName);
    });
    print(deleted, options.json, () => deleted.map((pod) => `pod ${pod} deleted`).join('\n'));
  });

command.addCommand(create.name('create').summary('create a pod'));
command.addCommand(list.name('list').summary('list the pods'));
command.addCommand(remove.name('delete').summary('delete pods'));

/** A label as in Kubernetes: an optional prefix, a name, and a value that may be empty. */
const LABEL =
  /^((?:[a-z0-9.-]+\/)?[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?)=((?:[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?)?)$/;

function label(text: string): readonly [string, string] {
  const [, key, value] = text.match(LABEL) ?? [];
  if (key !== undefined && value !== undefined) return [key, value];
  throw new FlatnetError(`'${text}' is not a label`, {
    code: 'USAGE',
    object: '--label',
    fix: 'write it as app=web',
  });
}

/** The value may be anything. */
function annotation(text: string): readonly [string, string] {
  const [, key, value] = text.match(/^([^=]+)=(.*)$/s) ?? [];
  if (key !== undefined && value !== undefined) return [key, value];
  throw new FlatnetError(`'${text}' is not an annotation`, {
    code: 'USAGE',
    object: '--annotation',
    fix: 'write it as key=value',
  });
}
