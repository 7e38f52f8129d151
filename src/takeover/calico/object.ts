import { Fields } from '../../cluster/fields.ts';

/** An object of Calico's or of Kubernetes', as a server prints it. */
export type CalicoObject = {
  readonly kind: string;
  /** Without the version. */
  readonly group: string;
  readonly name: string;
  readonly metadata: Fields;
  readonly spec: Fields;
  /** How the plan names it: `IPPool/default`. */
  readonly title: string;
};

/** Throws CONFIG_INVALID naming the field. */
export function readObject(value: unknown, where: string): CalicoObject {
  const fields = new Fields(value, `${where}object`);
  const kind = fields.string('kind') ?? '';
  if (kind === '') throw fields.invalid('kind', 'is missing');
  const metadata = fields.object('metadata') ?? new Fields({}, `${where}metadata`);
  const name = metadata.string('name') ?? '';
  const group = (fields.string('apiVersion') ?? '').split('/').slice(0, -1).join('/');
  const spec = fields.object('spec') ?? new Fields({}, `${where}${kind}/${name} spec`);
  const namespace = metadata.string('namespace');
  const title = `${kind}/${namespace === undefined ? '' : `${namespace}/`}${name}`;
  return { kind, group, name, metadata, spec, title };
}
