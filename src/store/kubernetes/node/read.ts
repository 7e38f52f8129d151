import { messageOf } from '../../../error.ts';
import { familyOf } from '../../../ip/address.ts';
import { type Cidr, parseCidr } from '../../../ip/cidr.ts';
import { asJson, type KubernetesObject } from '../../../kubernetes/api/object.ts';
import { type Annotations, decodeAnnotations, type Published } from './annotations.ts';
import { type AnnotationKeys, writtenKeys } from './keys.ts';
import { conditionOf, conditionText, NETWORK_UNAVAILABLE } from './patch.ts';

/** What is kept of a Node object: a few hundred bytes of some ten thousand. */
export type NodeReading = {
  readonly name: string;
  readonly uid: string;
  /** Its resourceVersion. */
  readonly version: string;
  /** When it was created; milliseconds since 1970. */
  readonly created: number;
  readonly labels: Readonly<Record<string, string>>;
  /** spec.podCIDRs, one of each family at most. */
  readonly subnets: readonly Cidr[];
  /** Ours and flannel's. */
  readonly annotations: Annotations;
  /** Undefined: no agent runs there. */
  readonly published: Published | undefined;
  /** What its condition NetworkUnavailable says, as by `conditionText`. */
  readonly condition?: string;
  /** What cannot be read. */
  readonly problems: readonly string[];
};

/** Reads a Node object. Never throws. */
export function readNode(keys: AnnotationKeys, object: KubernetesObject): NodeReading {
  const { name, uid = '', resourceVersion = '', labels = {}, creationTimestamp } = object.metadata;
  const problems: string[] = [];
  const warn = (problem: string): void => void problems.push(problem);
  const wanted = [...writtenKeys(keys), ...Object.values(keys.overwrite)];
  const all = object.metadata.annotations ?? {};
  const annotations = Object.fromEntries(
    wanted.flatMap((key) => {
      const value = all[key];
      return value === undefined ? [] : [[key, value]];
    }),
  );
  const condition = conditionOf(object, NETWORK_UNAVAILABLE);
  const created = typeof creationTimestamp === 'string' ? Date.parse(creationTimestamp) : 0;
  return {
    name,
    uid,
    version: resourceVersion,
    created: Number.isNaN(created) ? 0 : created,
    labels,
    subnets: podCidrs(asJson(object.spec), warn),
    annotations,
    published: decodeAnnotations(keys, name, annotations, warn),
    ...(condition && { condition: conditionText(condition) }),
    problems,
  };
}

/** spec.podCIDRs, or spec.podCIDR, which is its first. */
function podCidrs(
  { podCIDRs, podCIDR }: Readonly<Record<string, unknown>>,
  warn: (problem: string) => void,
): readonly Cidr[] {
  const texts: readonly unknown[] =
    Array.isArray(podCIDRs) && podCIDRs.length > 0 ? podCIDRs : podCIDR ? [podCIDR] : [];
  try {
    const subnets = texts.map((text) => parseCidr(String(text)));
    const [first, second] = subnets;
    if (subnets.length > 2) throw new Error(`${subnets.join(', ')}: more than one of each family`);
    if (first !== undefined && second !== undefined && familyOf(first) === familyOf(second))
      throw new Error(`${first} and ${second} are of one family`);
    return subnets;
  } catch (error) {
    warn(`spec.podCIDRs: ${messageOf(error)}`);
    return [];
  }
}
