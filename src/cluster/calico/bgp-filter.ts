import { BITS, type Family, ofFamily } from '../../ip/address.ts';
import { type Cidr, lengthOf } from '../../ip/cidr.ts';
import type { Fields } from '../fields.ts';
import type { BgpFilter, FilterRule } from '../resources.ts';
import { objects, parsed, refuseOthers, required, word } from './spec.ts';
import { interfacePattern, network } from './values.ts';

const RULE = ['action', 'cidr', 'matchOperator', 'prefixLength', 'source', 'interface'];

export function readBgpFilter(name: string, spec: Fields): BgpFilter {
  refuseOthers(spec, ['exportV4', 'importV4', 'exportV6', 'importV6']);
  const rules = (field: string, family: Family): readonly FilterRule[] =>
    objects(spec, field).map((each) => readRule(each, family));
  return {
    name,
    exportV4: rules('exportV4', 4),
    importV4: rules('importV4', 4),
    exportV6: rules('exportV6', 6),
    importV6: rules('importV6', 6),
  };
}

function readRule(fields: Fields, family: Family): FilterRule {
  refuseOthers(fields, RULE);
  const cidr = parsed(fields, 'cidr', (value) => ofFamily(family, network(value)));
  const matchOperator = word(fields, 'matchOperator', ['Equal', 'NotEqual', 'In', 'NotIn'] as const);
  const prefixLength = readPrefixLength(fields, family, cidr);
  const source = word(fields, 'source', ['RemotePeers'] as const);
  const device = parsed(fields, 'interface', interfacePattern);
  if (cidr !== undefined && matchOperator === undefined) {
    throw fields.invalid('matchOperator', 'is required with cidr; write Equal, NotEqual, In or NotIn');
  }
  if (cidr === undefined && matchOperator !== undefined) {
    throw fields.invalid('cidr', 'is required with matchOperator');
  }
  return {
    action: required(fields, 'action', word(fields, 'action', ['Accept', 'Reject'] as const)),
    ...(cidr && { cidr }),
    ...(matchOperator && { matchOperator }),
    ...(prefixLength && { prefixLength }),
    ...(source && { source }),
    ...(device && { interface: device }),
  };
}

/** Reads the bounds; rejects ones that no route within the network could meet. */
function readPrefixLength(
  rule: Fields,
  family: Family,
  cidr: Cidr | undefined,
): FilterRule['prefixLength'] | undefined {
  const fields = rule.object('prefixLength');
  if (!fields) return undefined;
  refuseOthers(fields, ['min', 'max']);
  if (cidr === undefined) throw rule.invalid('cidr', 'is required with prefixLength');
  const min = fields.integer('min', 0, BITS[family]);
  const max = fields.integer('max', 0, BITS[family]);
  if ((min ?? lengthOf(cidr)) > (max ?? BITS[family])) {
    throw fields.invalid(
      'max',
      `${max} is below ${min === undefined ? `the /${lengthOf(cidr)} of cidr` : `min ${min}`}`,
    );
  }
  return { ...(min !== undefined && { min }), ...(max !== undefined && { max }) };
}
