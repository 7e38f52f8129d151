import { Fields } from '../../cluster/fields.ts';
import type { PodIdentity } from '../../cluster/node.ts';
import { FlatnetError, messageOf } from '../../error.ts';
import { type Ip, parseIp } from '../../ip/address.ts';
import { type Cidr, contains, parseCidr } from '../../ip/cidr.ts';
import { type Mac, parseMac } from '../../ip/mac.ts';
import { CniError, CODE, unsupported } from './error.ts';
import type { Invocation } from './invocation.ts';

/**
 * Returns the pod a call is for: namespace, name and UID from CNI_ARGS, where every Kubernetes runtime puts
 * them, labels from the configuration's `args.cni.labels`, `[{"key": K, "value": V}]` (the CNI project's
 * conventions). Throws CONFIG_INVALID naming the field when the labels have another shape.
 */
export function podIdentity({ args, conf }: Invocation): PodIdentity {
  const namespace = args.get('K8S_POD_NAMESPACE');
  const name = args.get('K8S_POD_NAME');
  const uid = args.get('K8S_POD_UID');
  return {
    ...(namespace && { namespace }),
    ...(name && { name }),
    ...(uid && { uid }),
    labels: readLabels(conf),
  };
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

/** The capability through which containerd and CRI-O pass a pod's annotations. */
export const ANNOTATIONS = 'io.kubernetes.cri.pod-annotations';

const PREFIX = 'cni.projectcalico.org/';
/** Calico annotations that affect the interface but that we don't support. Others are Calico-internal. */
const UNSUPPORTED = ['ipAddrsNoIpam', 'floatingIPs', 'ipFamilies'];

/** Interface settings requested by a pod's (Calico) annotations. */
export type PodRequests = {
  readonly ips: readonly Ip[];
  /** By name or CIDR; empty: any. */
  readonly pools: readonly string[];
  readonly mac: Mac | undefined;
};

const ALLOWED_SOURCES = `${PREFIX}allowedSourcePrefixes`;

/**
 * The networks, besides its own addresses, that a pod asks to send from: Calico's annotation
 * `allowedSourcePrefixes`. Throws CONFIG_INVALID if it is malformed, CniError 7 if `refuses` gives a reason
 * against one: whoever may create a pod does not decide that.
 */
export function allowedSources(conf: Fields, refuses: (cidr: Cidr) => string | undefined): readonly Cidr[] {
  const read = (text: string) => readList(text).map(parseCidr);
  const cidrs = annotationsOf(conf).parsed(ALLOWED_SOURCES, read) ?? [];
  for (const cidr of cidrs) {
    const reason = refuses(cidr);
    if (reason === undefined) continue;
    throw new CniError(
      CODE.INVALID_CONFIG,
      `${ALLOWED_SOURCES}: ${cidr} ${reason}`,
      'change the annotation, or allowedSources in the network’s configuration',
    );
  }
  // Elements of a set must not overlap.
  return cidrs.filter((cidr, i) =>
    cidrs.every((other, j) => i === j || !contains(other, cidr) || (other === cidr && i < j)),
  );
}

function annotationsOf(conf: Fields): Fields {
  return conf.object('runtimeConfig')?.object(ANNOTATIONS) ?? new Fields({});
}

/** Throws CONFIG_INVALID naming a malformed annotation, and CniError 2 for one we don't support. */
export function podRequests(conf: Fields): PodRequests {
  const annotations = annotationsOf(conf);
  for (const name of UNSUPPORTED) {
    const value = annotations.raw(PREFIX + name);
    if (value !== undefined && value !== '') throw unsupported(PREFIX + name, value);
  }
  const list = (name: string): readonly string[] => annotations.parsed(PREFIX + name, readList) ?? [];
  return {
    ips: annotations.parsed(`${PREFIX}ipAddrs`, (text) => readList(text).map(parseIp)) ?? [],
    pools: [...list('ipv4pools'), ...list('ipv6pools')],
    mac: annotations.parsed(`${PREFIX}hwAddr`, (text) => (text === '' ? undefined : parseMac(text))),
  };
}

/** `["10.0.0.1"]`; an empty annotation asks for nothing. */
function readList(text: string): readonly string[] {
  if (text === '') return [];
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw notList(messageOf(error), error);
  }
  if (!Array.isArray(value)) throw notList('not a list');
  return value.map((entry: unknown) => {
    if (typeof entry === 'string') return entry;
    throw notList(`${JSON.stringify(entry)} is not a string`);
  });
}

function notList(text: string, cause?: unknown): FlatnetError {
  return new FlatnetError(text, {
    code: 'CONFIG_INVALID',
    fix: 'write a JSON list of strings, e.g. ["10.0.0.1"]',
    cause,
  });
}
