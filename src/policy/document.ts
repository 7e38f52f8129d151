import type { Item } from '../cluster/documents.ts';
import { Fields } from '../cluster/fields.ts';
import { isNodeName } from '../cluster/names.ts';
import type { Labels } from '../cluster/selector.ts';
import { TIER } from './collect.ts';
import { CALICO_VERSIONS, KINDS, kindNamed, type Spelling } from './kinds.ts';

/** An object that matters to policies, as its author wrote it, without what servers add. */
export type PolicyDocument = {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Labels;
    readonly annotations?: Labels;
  };
  readonly spec: Readonly<Record<string, unknown>>;
};

const calicos = (isNamespaced: boolean): Spelling => ({ versions: CALICO_VERSIONS, isNamespaced });

/** In the order in which they are written: policies come last, as they need the others. */
const DOCUMENTS: ReadonlyMap<string, Spelling> = new Map([
  ['Namespace', { versions: ['v1'], isNamespaced: false }],
  [TIER, calicos(false)],
  ['NetworkSet', calicos(true)],
  ['GlobalNetworkSet', calicos(false)],
  ...KINDS,
]);

/** The kinds by the names that policies have them by: Calico's NetworkPolicy is `Calico NetworkPolicy`. */
export const POLICY_KINDS = [...DOCUMENTS.keys()];

/** The words that objects have for these kinds. */
export const POLICY_WORDS = [...new Set(POLICY_KINDS.map((kind) => DOCUMENTS.get(kind)?.word ?? kind))];

function namespaceName(text: string): string {
  if (isNodeName(text) && text.length <= 63 && !text.includes('.')) return text;
  throw new TypeError("must be lower-case letters, digits and '-', 63 at most");
}

/** Which object. `namespace`: of kinds that have one. */
export type PolicyObjectId = { readonly kind: string; readonly namespace?: string; readonly name: string };

/** Whether an object is one of these kinds, by its kind alone. */
export function isPolicyObject(value: unknown): boolean {
  const { kind } = (value ?? {}) as { readonly kind?: unknown };
  return POLICY_WORDS.some((word) => word === kind);
}

export function isNamespaced(kind: string): boolean {
  return DOCUMENTS.get(kind)?.isNamespaced ?? false;
}

/** Throws CONFIG_INVALID naming the field; what `spec` says is not read. */
export function readPolicyDocument({ value, where }: Item): PolicyDocument {
  const fields = new Fields(value, `${where}object`);
  const { kind, apiVersion } = kindOf(fields);
  const metadata = fields.object('metadata');
  const name = metadata?.string('name');
  if (!metadata || !name) throw fields.invalid('metadata.name', 'is missing');
  if (!isNodeName(name))
    throw metadata.invalid('name', "must be lower-case letters, digits, '-' and '.', 253 at most");
  const namespace = metadata.parsed('namespace', namespaceName);
  if (namespace !== undefined && !isNamespaced(kind))
    throw metadata.invalid('namespace', `leave it out: a ${kind} is of the whole cluster`);
  const [labels, annotations] = ['labels', 'annotations'].map((each) => strings(metadata, each));
  return {
    apiVersion,
    kind: DOCUMENTS.get(kind)?.word ?? kind,
    metadata: {
      name,
      ...(isNamespaced(kind) && { namespace: namespace ?? 'default' }),
      ...(labels && { labels }),
      ...(annotations && { annotations }),
    },
    spec: kind === 'Namespace' ? {} : (fields.object('spec')?.source ?? {}),
  };
}

export function idOf({
  apiVersion,
  kind: word,
  metadata: { namespace, name },
}: PolicyDocument): PolicyObjectId {
  return {
    kind: kindNamed(word, apiVersion, DOCUMENTS) ?? word,
    ...(namespace !== undefined && { namespace }),
    name,
  };
}

/** Namespaces, Tiers and network sets before policies. */
export function inWritingOrder(documents: readonly PolicyDocument[]): readonly PolicyDocument[] {
  const place = (document: PolicyDocument): number => POLICY_KINDS.indexOf(idOf(document).kind);
  return documents.toSorted((a, b) => place(a) - place(b));
}

function kindOf(fields: Fields): { readonly kind: string; readonly apiVersion: string } {
  const word = fields.string('kind');
  if (!word) throw fields.invalid('kind', 'is missing');
  const apiVersion = fields.string('apiVersion');
  const kind = apiVersion && kindNamed(word, apiVersion, DOCUMENTS);
  if (kind && apiVersion) return { kind, apiVersion };
  const versions = POLICY_KINDS.filter((each) => (DOCUMENTS.get(each)?.word ?? each) === word).flatMap(
    (each) => DOCUMENTS.get(each)?.versions ?? [],
  );
  if (versions.length === 0) throw fields.invalid('kind', `must be one of ${POLICY_WORDS.join(', ')}`);
  throw fields.invalid('apiVersion', `of ${word} must be ${versions.join(' or ')}`);
}

function strings(fields: Fields, name: string): Labels | undefined {
  const object = fields.object(name);
  if (!object) return undefined;
  const wrong = Object.entries(object.source).find(([, value]) => typeof value !== 'string');
  if (wrong) throw object.invalid(wrong[0], 'must be a string; put it in quotes');
  return object.source as Labels;
}
