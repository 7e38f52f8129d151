import { isIp, parseIp } from '../ip/address.ts';
import { type Cidr, hostCidr, parseCidr } from '../ip/cidr.ts';
import type { Fields } from './fields.ts';

const ON_CHANGE = ['cut', 'keep'] as const;

/** How nodes enforce network policies. */
export type PolicyOptions = {
  /** What becomes of connections that a changed policy no longer allows. */
  readonly onChange: (typeof ON_CHANGE)[number];
  /** Whether established connections are handed to a flowtable, where the kernel has them. */
  readonly offload: boolean;
  /** Whether denied connections are written to the agent's log. */
  readonly logDenied: boolean;
  /** The group of NFLOG by which agents hear of connections to write down. */
  readonly logGroup: number;
  /**
   * Who is believed about domain names besides the cluster's DNS pods and the node's own resolvers: the
   * addresses from which answers come in truth. Absent: nobody.
   */
  readonly resolvers?: readonly Cidr[];
};

/** 0 is ulogd's, and Calico has 1 and 2. */
const LOG_GROUP = 26_220;
/** By which agents see what pods are told of domain names: a queue, or a group of NFLOG. */
export const ANSWERS = 26_221;

const USUAL: PolicyOptions = { onChange: 'cut', offload: true, logDenied: false, logGroup: LOG_GROUP };

/**
 * Reads `policy`: true or false, or an object with options, which also means true; undefined if policies are
 * not enforced. `isPossible`: pods' packets pass the node, which can drop them.
 */
export function readPolicyOptions(fields: Fields, isPossible: boolean): PolicyOptions | undefined {
  const options = readOptions(fields);
  if (!options) return undefined;
  if (!isPossible)
    throw fields.invalid(
      'policy',
      'must be false or absent with this wiring: no node sees its pods’ packets',
    );
  if (fields.boolean('guard') === false)
    throw fields.invalid('guard', 'must be true with policy: pods could pose as others, and escape theirs');
  return options;
}

/** As in net-conf.json. */
export function policyOptionsValue(options: PolicyOptions): true | PolicyOptions {
  const isUsual =
    !options.resolvers &&
    Object.entries(USUAL).every(([name, value]) => options[name as keyof PolicyOptions] === value);
  return isUsual ? true : options;
}

function readOptions(fields: Fields): PolicyOptions | undefined {
  if (typeof fields.raw('policy') !== 'object') return fields.boolean('policy') ? USUAL : undefined;
  const own = fields.object('policy');
  const text = own?.string('onChange')?.toLowerCase() ?? USUAL.onChange;
  const onChange = ON_CHANGE.find((each) => each === text);
  if (onChange === undefined)
    throw own?.invalid('onChange', `must be ${ON_CHANGE.join(' or ')}, not '${text}'`);
  const resolvers = own?.parsedList('resolvers', (text) =>
    isIp(text) ? hostCidr(parseIp(text)) : parseCidr(text),
  );
  return {
    onChange,
    offload: own?.boolean('offload') ?? USUAL.offload,
    logDenied: own?.boolean('logDenied') ?? USUAL.logDenied,
    logGroup: readLogGroup(own) ?? USUAL.logGroup,
    ...(resolvers && { resolvers }),
  };
}

function readLogGroup(own: Fields | undefined): number | undefined {
  const group = own?.integer('logGroup', 0, 65_535);
  if (group === ANSWERS)
    throw own?.invalid('logGroup', `must not be ${ANSWERS}, by which agents see answers about domain names`);
  return group;
}
