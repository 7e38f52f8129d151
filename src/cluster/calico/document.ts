import { FlatnetError } from '../../error.ts';
import { Fields } from '../fields.ts';
import { refuseOthers, required, text } from './spec.ts';

export const KINDS = ['IPPool', 'IPReservation', 'BGPConfiguration', 'BGPPeer', 'BGPFilter', 'Node'] as const;
export type Kind = (typeof KINDS)[number];

/** Kinds of Kubernetes itself, which are easily applied with the wrong command. */
const IN_LABS: readonly string[] = ['Namespace', 'Pod', 'Deployment', 'DaemonSet'];

export const API_VERSION = 'projectcalico.org/v3';
/** The same version as named in the Kubernetes datastore. */
export const CRD_VERSION = 'crd.projectcalico.org/v1';

/** A resource as the user wrote it, without what a server adds (uid, times, status). */
export type Document = {
  readonly apiVersion: typeof API_VERSION;
  readonly kind: Kind;
  readonly metadata: {
    readonly name: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    /** From the store: applied only if the resource has not changed since. */
    readonly resourceVersion?: string;
  };
  readonly spec: Readonly<Record<string, unknown>>;
};

/** Fields added by servers, which are ignored. */
const SERVER_FIELDS = ['uid', 'creationTimestamp', 'generation', 'managedFields', 'selfLink'];

/** `IPPool/default`: how errors and commands name a resource. */
export function titleOf({ kind, metadata }: Pick<Document, 'kind' | 'metadata'>): string {
  return `${kind}/${metadata.name}`;
}

/**
 * Reads everything except `spec`, which `decode` reads. `where` prefixes the name of a field in errors, e.g.
 * `pools.yaml document 2: `. Throws CONFIG_INVALID.
 */
export function readDocument(value: unknown, where = ''): Document {
  const fields = new Fields(value, `${where}resource`);
  const kind = knownKind(fields);
  const version = text(fields, 'apiVersion');
  if (version === undefined) throw fields.invalid('apiVersion', `is missing; write ${API_VERSION}`);
  if (version !== API_VERSION && version !== CRD_VERSION) {
    throw fields.invalid('apiVersion', `of ${kind} must be ${API_VERSION}, not '${version}'`);
  }
  refuseOthers(fields, ['apiVersion', 'kind', 'metadata', 'spec', 'status']);
  const metadata = new Fields(
    required(fields, 'metadata', fields.raw('metadata')),
    `${where}${kind} metadata`,
  );
  refuseOthers(metadata, ['name', 'labels', 'annotations', 'resourceVersion', ...SERVER_FIELDS]);
  const name = nameOf(kind, metadata);
  const labels = strings(metadata, 'labels');
  const annotations = strings(metadata, 'annotations');
  const resourceVersion = text(metadata, 'resourceVersion');
  return {
    apiVersion: API_VERSION,
    kind,
    metadata: {
      name,
      ...(labels && { labels }),
      ...(annotations && { annotations }),
      ...(resourceVersion !== undefined && { resourceVersion }),
    },
    spec: new Fields(fields.raw('spec') ?? {}, `${where}${kind}/${name} spec`).source,
  };
}

function knownKind(fields: Fields): Kind {
  const written = required(fields, 'kind', text(fields, 'kind'));
  const kind = KINDS.find((each) => each === written);
  if (kind !== undefined) return kind;
  const fix = IN_LABS.includes(written)
    ? 'a lab runs it: flatnet lab apply -f FILE'
    : `use one of ${KINDS.join(', ')}`;
  throw fields.invalid('kind', `'${written}' is not supported; ${fix}`);
}

/** Returns the kind for a name such as `ippool`, `ippools`, `IPPool` or `pool`. Throws USAGE. */
export function kindNamed(word: string): Kind {
  const plain = word.toLowerCase();
  const singular = plain.replace(/s$/, '');
  const kind = KINDS.find(
    (each) => [singular, plain].includes(each.toLowerCase()) || SHORT[each].includes(plain),
  );
  if (kind !== undefined) return kind;
  throw new FlatnetError(`unknown kind '${word}'`, {
    code: 'USAGE',
    object: 'kind',
    fix: `use one of ${KINDS.map((each) => each.toLowerCase()).join(', ')}`,
  });
}

const SHORT: Readonly<Record<Kind, readonly string[]>> = {
  IPPool: ['pool', 'pools', 'ipp'],
  IPReservation: ['reservation', 'reservations', 'ipres'],
  BGPConfiguration: ['bgpconfig', 'bgpconfigs', 'bgpc'],
  BGPPeer: ['peer', 'peers', 'bgpp'],
  BGPFilter: ['filter', 'filters', 'bgpf'],
  Node: ['no'],
};

/** A DNS name, as Kubernetes requires for a resource: RFC 1123 labels joined by dots. */
function nameOf(kind: Kind, metadata: Fields): string {
  const name = required(metadata, 'name', text(metadata, 'name'));
  if (name.length > 253 || !/^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/.test(name)) {
    throw metadata.invalid('name', `'${name}' must be lower-case letters, digits, '-' and '.'`);
  }
  if (kind === 'BGPConfiguration' && name !== 'default') {
    throw metadata.invalid(
      'name',
      `'${name}' is not supported: the only configuration is 'default'; per-node settings go into the Node resource`,
    );
  }
  return name;
}

function strings(fields: Fields, name: string): Readonly<Record<string, string>> | undefined {
  const object = fields.object(name);
  if (!object) return undefined;
  for (const [key, value] of Object.entries(object.source)) {
    if (typeof value !== 'string') throw object.invalid(key, 'must be a string; put it in quotes');
  }
  return object.source as Readonly<Record<string, string>>;
}
