import { createHash } from 'node:crypto';
import { KINDS } from '../../../cluster/calico/document.ts';
import { type Item, readDocuments } from '../../../cluster/documents.ts';
import type { Placed } from '../../../policy/check.ts';
import { idOf, isPolicyObject, readPolicyDocument } from '../../../policy/document.ts';
import { namespaceName } from '../../record/names.ts';
import { checked, invalid, ManifestFields, type Warn } from './fields.ts';
import { type PodTemplate, readMetadata, readPodSpec } from './pod-template.ts';

export type Workload = {
  readonly kind: 'Deployment' | 'DaemonSet';
  readonly namespace: string;
  readonly name: string;
  /** Deployments only. */
  readonly replicas: number;
  readonly template: PodTemplate;
  /** Hash of the template: pods created from another template are replaced. */
  readonly hash: string;
};

export type PodManifest = {
  readonly kind: 'Pod';
  readonly namespace: string;
  readonly name: string;
  readonly template: PodTemplate;
  readonly hash: string;
};

export type NamespaceManifest = {
  readonly kind: 'Namespace';
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
};

/** A network policy, or what belongs to policies, for the store. */
export type PolicyManifest = { readonly kind: 'Policy'; readonly name: string; readonly placed: Placed };

export type Manifest = Workload | PodManifest | NamespaceManifest | PolicyManifest;

const VERSIONS: Record<Exclude<Manifest['kind'], 'Policy'>, string> = {
  Namespace: 'v1',
  Pod: 'v1',
  Deployment: 'apps/v1',
  DaemonSet: 'apps/v1',
};

/** A replica is named `<name>-<hash>-<number>`, which must be a DNS label. */
const MAX_WORKLOAD_NAME = 63 - '-123456-999'.length;
const MAX_REPLICAS = 999;

/**
 * Reads YAML or JSON with any number of documents. Throws MANIFEST_INVALID naming file, document and field;
 * fields that are understood but ignored go to `warn`.
 */
export function readManifests(text: string, filename: string, warn: Warn): Manifest[] {
  const manifests = readDocuments(text, filename, 'MANIFEST_INVALID').map((item) =>
    isPolicyObject(item.value) && !isNamespace(item) ? policyIn(item) : readManifest(item, warn),
  );
  if (manifests.length === 0) throw invalid(filename, 'contains no manifest');
  refuseTwice(manifests, filename);
  return manifests;
}

export function keyOf(manifest: Manifest): string {
  const { kind, name } = manifest;
  if (kind === 'Policy') return JSON.stringify(idOf(manifest.placed.document));
  return kind === 'Namespace' ? `${kind}/${name}` : `${kind}/${manifest.namespace}/${name}`;
}

function isNamespace({ value }: Item): boolean {
  return (value as { kind?: unknown }).kind === 'Namespace';
}

function policyIn(item: Item): PolicyManifest {
  const document = readPolicyDocument(item);
  return { kind: 'Policy', name: document.metadata.name, placed: { document, where: item.where } };
}

function readManifest({ value, where }: Item, warn: Warn): Manifest {
  const fields = new ManifestFields(value, where, warn);
  const kind = fields.required('kind') as keyof typeof VERSIONS;
  if (!Object.hasOwn(VERSIONS, kind)) {
    const fix = KINDS.some((each: string) => each === kind)
      ? 'it is a resource in the store: flatnet apply --lab LAB -f FILE'
      : `use one of ${Object.keys(VERSIONS).join(', ')}, or a network policy`;
    throw fields.invalid('kind', `'${kind}' is not supported in a lab; ${fix}`);
  }
  const version = VERSIONS[kind];
  if (fields.required('apiVersion') !== version) {
    throw fields.invalid('apiVersion', `of ${kind} must be ${version}`);
  }
  if (kind === 'Namespace') return readNamespace(fields);
  const metadata = readMetadata(fields.object('metadata'), fields);
  const spec = fields.object('spec');
  if (!spec) throw fields.invalid('spec', 'is missing');
  const { namespace, name } = metadata;
  if (kind === 'Pod') {
    const template = readPodSpec(spec, metadata);
    fields.finish();
    return { kind, namespace, name, template, hash: hashOf(template) };
  }
  if (name.length > MAX_WORKLOAD_NAME) {
    throw fields.invalid(
      'metadata.name',
      `has ${name.length} characters, but at most ${MAX_WORKLOAD_NAME} are allowed: pods are named after it`,
    );
  }
  const replicas = kind === 'Deployment' ? (spec.integer('replicas', 0, MAX_REPLICAS) ?? 1) : 0;
  const template = readTemplate(spec);
  spec.finish();
  fields.finish();
  return { kind, namespace, name, replicas, template, hash: hashOf(template) };
}

function readTemplate(spec: ManifestFields): PodTemplate {
  const fields = spec.object('template');
  if (!fields) throw spec.invalid('template', 'is missing');
  const metadata = fields.object('metadata');
  const labels = metadata?.map('labels') ?? {};
  const annotations = metadata?.map('annotations') ?? {};
  metadata?.finish();
  const selector = spec.object('selector');
  if (!selector) throw spec.invalid('selector', 'is missing');
  const wanted = selector.map('matchLabels');
  selector.finish();
  const missing = Object.entries(wanted).find(([key, value]) => labels[key] !== value);
  if (missing || Object.keys(wanted).length === 0) {
    throw spec.invalid(
      'selector.matchLabels',
      missing
        ? `requires ${missing.join('=')}, which template.metadata.labels lacks`
        : 'is empty; repeat the template’s labels',
    );
  }
  const podSpec = fields.object('spec');
  if (!podSpec) throw fields.invalid('spec', 'is missing');
  fields.finish();
  return readPodSpec(podSpec, { labels, annotations });
}

function readNamespace(fields: ManifestFields): NamespaceManifest {
  const metadata = fields.object('metadata');
  if (!metadata) throw fields.invalid('metadata', 'is missing');
  const name = checked(metadata, 'name', metadata.required('name'), namespaceName);
  const labels = metadata.map('labels');
  metadata.finish();
  fields.raw('spec');
  fields.finish();
  return { kind: 'Namespace', name, labels };
}

function hashOf(template: PodTemplate): string {
  return createHash('sha256').update(JSON.stringify(template)).digest('hex').slice(0, 6);
}

function refuseTwice(manifests: readonly Manifest[], filename: string): void {
  const keys = manifests.map(keyOf);
  const twice = keys.find((key, i) => keys.indexOf(key) !== i);
  if (twice) throw invalid(filename, `contains ${twice} twice`);
}
