import { parsed } from '../../cluster/calico/spec.ts';
import type { Fields } from '../../cluster/fields.ts';
import { parseSelector, type Selector } from '../../cluster/selector.ts';
import type { EntityMatcher } from '../model/matcher.ts';
import { conditionText } from '../model/text.ts';
import { type Endpoint, NAME, type Seen, seenOf } from './labels.ts';

/** A condition on endpoints. */
export type Condition = {
  readonly text: string;
  /** How many comparisons it has at most. */
  readonly size: number;
  readonly holds: (endpoint: Endpoint) => boolean;
};

/** What a selector compares with: a value, of a list each, or whether a label is there. */
const COMPARISON = /'[^']*'|"[^"]*"|\bhas\(/g;

/** Whether something is of a namespace at all, which has a name. */
const isNamespaced: Selector = (labels) => Object.hasOwn(labels, NAME);

/** `selector` or `notSelector`: over an endpoint's own labels and those that it inherits. */
export function labelCondition(fields: Fields, name: string): Condition | undefined {
  return condition(fields, name, 'with labels', 'own', (text) => parseSelector(withoutGlobal(text)));
}

/** `namespaceSelector` of a policy. */
export function namespaceCondition(fields: Fields): Condition | undefined {
  return condition(fields, 'namespaceSelector', 'in namespaces', 'namespace', (text) =>
    parseSelector(withoutGlobal(text), { all: isNamespaced, global: () => false }),
  );
}

/** `namespaceSelector` of a rule, which may be `global()`: what is of no namespace. */
export function peerNamespaceCondition(fields: Fields): Condition | undefined {
  return condition(fields, 'namespaceSelector', 'in namespaces', 'namespace', (text) =>
    parseSelector(/^\s*global\(\s*\)\s*$/.test(text) ? text : withoutGlobal(text), {
      all: isNamespaced,
      global: (labels) => !isNamespaced(labels),
    }),
  );
}

/** A selector over service accounts, `name` being its field. */
export function serviceAccountCondition(fields: Fields, name: string): Condition | undefined {
  return condition(fields, name, 'of service accounts', 'serviceAccount', (text) =>
    parseSelector(withoutGlobal(text)),
  );
}

export function inNamespace(namespace: string): Condition {
  return {
    text: `in namespace ${namespace}`,
    size: 0,
    holds: (endpoint) => endpoint.namespace === namespace,
  };
}

/** The endpoints for which all of the conditions hold. */
export function endpointMatcher(conditions: readonly Condition[]): EntityMatcher {
  return {
    kind: 'labelled',
    text: conditionText(['endpoints', conditions.map(({ text }) => text).join(', ') || 'all'].join(' ')),
    size: conditions.reduce((sum, { size }) => sum + size, 1),
    selects: (entity) => entity.kind !== 'node' && conditions.every(({ holds }) => holds(entity)),
  };
}

function condition(
  fields: Fields,
  name: string,
  text: string,
  of: keyof Seen,
  parse: (text: string) => Selector,
): Condition | undefined {
  return parsed(fields, name, (written) => {
    const selector = parse(written);
    return {
      text: `${text} ${JSON.stringify(written)}`,
      size: written.match(COMPARISON)?.length ?? 1,
      holds: (endpoint) => selector(seenOf(endpoint)[of]),
    };
  });
}

function withoutGlobal(text: string): string {
  if (/\bglobal\(/.test(text))
    throw new TypeError('global() is for the namespaceSelector of a rule, where it must be alone');
  return text;
}
