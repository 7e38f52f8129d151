import { containerName, namespaceName, podName } from '../../record/names.ts';
import { type ContainerSpec, type EnvVar, POD_FIELDS } from '../spec.ts';
import { checked, type ManifestFields } from './fields.ts';

/** The properties that the pods of a workload have in common. */
export type PodTemplate = {
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly nodeName?: string;
  readonly nodeSelector: Readonly<Record<string, string>>;
  readonly containers: readonly ContainerSpec[];
};

/** Fields that require features a lab cannot provide. */
const REFUSED = ['hostNetwork', 'hostPID', 'hostIPC', 'initContainers', 'ephemeralContainers'];

/** Reads the `spec` of a pod. Throws MANIFEST_INVALID naming the field. */
export function readPodSpec(
  spec: ManifestFields,
  { labels, annotations }: Pick<Metadata, 'labels' | 'annotations'>,
): PodTemplate {
  for (const name of REFUSED) {
    const value = spec.raw(name);
    if (value !== undefined && value !== false && !(Array.isArray(value) && value.length === 0)) {
      throw spec.invalid(name, 'is not supported in a lab; remove it');
    }
  }
  const fields = spec.objects('containers');
  if (fields.length === 0) throw spec.invalid('containers', 'is empty; a pod needs at least one container');
  const containers = fields.map(readContainer);
  const twice = containers.find(({ name }, i) => containers.findIndex((each) => each.name === name) !== i);
  if (twice) throw spec.invalid('containers', `has two named '${twice.name}'`);
  const nodeName = spec.string('nodeName');
  const template = {
    labels,
    ...(Object.keys(annotations).length > 0 && { annotations }),
    nodeSelector: spec.map('nodeSelector'),
    containers,
    ...(nodeName === undefined ? {} : { nodeName }),
  };
  spec.finish();
  return template;
}

export type Metadata = {
  readonly name: string;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
};

export function readMetadata(fields: ManifestFields | undefined, missing: ManifestFields): Metadata {
  if (!fields) throw missing.invalid('metadata', 'is missing');
  const name = checked(fields, 'name', fields.required('name'), podName);
  const namespace = checked(fields, 'namespace', fields.string('namespace') ?? 'default', namespaceName);
  const labels = fields.map('labels');
  const annotations = fields.map('annotations');
  fields.finish();
  return { name, namespace, labels, annotations };
}

function readContainer(fields: ManifestFields): ContainerSpec {
  const command = fields.strings('command');
  const args = fields.strings('args');
  const workingDir = fields.string('workingDir');
  const container: ContainerSpec = {
    name: checked(fields, 'name', fields.required('name'), containerName),
    image: fields.required('image'),
    env: fields.objects('env').flatMap((each) => readEnv(each)),
    ports: fields.objects('ports').flatMap((each) => readPort(each)),
    ...(command === undefined ? {} : { command }),
    ...(args === undefined ? {} : { args }),
    ...(workingDir === undefined ? {} : { workingDir }),
  };
  fields.finish();
  return container;
}

/** Only TCP ports count: for other protocols there is nothing to listen on. */
function readPort(fields: ManifestFields): number[] {
  const port = fields.integer('containerPort', 1, 65_535);
  if (port === undefined) throw fields.invalid('containerPort', 'is missing');
  const protocol = fields.string('protocol') ?? 'TCP';
  fields.string('name');
  if (fields.integer('hostPort', 1, 65_535) !== undefined) {
    fields.warn('hostPort', 'is ignored: the port is reachable only at the pod’s own address');
  }
  fields.finish();
  return protocol === 'TCP' ? [port] : [];
}

function readEnv(fields: ManifestFields): EnvVar[] {
  const name = fields.required('name');
  const value = fields.string('value');
  const from = fields.object('valueFrom');
  fields.finish();
  if (!from) return [{ name, value: value ?? '' }];
  const reference = from.object('fieldRef');
  if (!reference) {
    from.warn('', `of ${name} is ignored: a lab has no config maps or secrets`);
    return [];
  }
  const path = reference.required('fieldPath');
  const field = POD_FIELDS.find((known) => known === path);
  if (field) return [{ name, field }];
  throw reference.invalid('fieldPath', `'${path}' is unknown; use one of ${POD_FIELDS.join(', ')}`);
}
