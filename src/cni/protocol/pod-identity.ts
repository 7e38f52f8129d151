import { Fields } from '../../cluster/fields.ts';
import type { PodIdentity } from '../../cluster/node.ts';
import type { Invocation } from './invocation.ts';

/**
 * Which pod a call is for: namespace and name from CNI_ARGS, where every Kubernetes runtime puts them, labels from
 * `args.cni.labels` of the configuration, `[{"key": K, "value": V}]` (the CNI project's conventions). Throws CONFIG_INVALID
 * naming the field when the labels have another shape.
 */
export function podIdentity({ args, conf }: Invocation): PodIdentity {
  const namespace = args.get('K8S_POD_NAMESPACE');
  const name = args.get('K8S_POD_NAME');
  return { ...(namespace && { namespace }), ...(name && { name }), labels: readLabels(conf) };
}

function readLabels(conf: Fields): Readonly<Record<string, string>> {
  const list = conf.object('args')?.object('cni')?.list('labels') ?? [];
  const pairs = list.map((entry, i) => {
    const label = new Fields(entry, `args.cni.labels[${i}]`);
    const key = label.string('key');
    if (!key) throw label.invalid('key', 'is missing');
    return [key, label.string('value') ?? ''];
  });
  return Object.fromEntries(pairs);
}
