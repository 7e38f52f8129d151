import { Fields } from '../../cluster/fields.ts';
import { isLabelKey, isLabelValue } from '../../cluster/labels.ts';
import type { Labels } from '../../cluster/selector.ts';
import { excerpt } from '../../problem.ts';

/** A selector over labels, with its own text, equal for equal selectors: `app = web, tier in (a, b)`. */
export type LabelSelector = {
  readonly text: string;
  /** How many requirements it has. */
  readonly size: number;
  readonly selects: (labels: Labels) => boolean;
};

const OPERATORS = ['In', 'NotIn', 'Exists', 'DoesNotExist'] as const;

type Requirement = {
  readonly text: string;
  readonly holds: (labels: Labels) => boolean;
};

/** Selects everything. */
const EVERYTHING: LabelSelector = { text: 'all', size: 0, selects: () => true };

/**
 * Reads a LabelSelector of Kubernetes: all of `matchLabels` and `matchExpressions` must hold, and an empty
 * one selects everything. Throws CONFIG_INVALID naming the field.
 */
export function readLabelSelector(fields: Fields): LabelSelector {
  const requirements = [
    ...(fields.object('matchLabels')?.entries() ?? []).map(([key, value]) => equals(fields, key, value)),
    ...(fields.list('matchExpressions') ?? []).map((value, i) =>
      expression(new Fields(value, `${fields.path}.matchExpressions[${i}]`)),
    ),
  ];
  fields.refuseUnread();
  if (requirements.length === 0) return EVERYTHING;
  const different = [...new Map(requirements.map((each) => [each.text, each])).values()];
  return {
    text: different
      .map(({ text }) => text)
      .sort()
      .join(', '),
    size: different.length,
    selects: (labels) => different.every(({ holds }) => holds(labels)),
  };
}

function equals(fields: Fields, key: string, value: unknown): Requirement {
  const at = `matchLabels[${JSON.stringify(excerpt(key, 60))}]`;
  if (!isLabelKey(key)) throw fields.invalid(at, 'is not a label’s key');
  if (typeof value !== 'string' || !isLabelValue(value)) throw fields.invalid(at, 'must be a label’s value');
  return { text: `${key} = ${value}`, holds: (labels) => labelOf(labels, key) === value };
}

function expression(fields: Fields): Requirement {
  const key = fields.string('key') ?? '';
  if (!isLabelKey(key)) throw fields.invalid('key', `'${excerpt(key, 60)}' is not a label’s key`);
  const written = fields.string('operator');
  const operator = OPERATORS.find((each) => each === written);
  if (!operator)
    throw fields.invalid('operator', `must be ${OPERATORS.join(', ')}, not '${excerpt(written ?? '', 60)}'`);
  const values = fields.parsedList('values', labelValue) ?? [];
  const needsValues = operator === 'In' || operator === 'NotIn';
  if (needsValues && values.length === 0)
    throw fields.invalid('values', `must not be empty with ${operator}`);
  if (!needsValues && values.length > 0) throw fields.invalid('values', `must be absent with ${operator}`);
  const set = new Set(values);
  const list = [...set].sort();
  switch (operator) {
    case 'In':
      return {
        text: `${key} in (${list.join(', ')})`,
        holds: (labels) => isOneOf(set, labelOf(labels, key)),
      };
    case 'NotIn':
      return {
        text: `${key} not in (${list.join(', ')})`,
        holds: (labels) => !isOneOf(set, labelOf(labels, key)),
      };
    case 'Exists':
      return { text: `has ${key}`, holds: (labels) => labelOf(labels, key) !== undefined };
    case 'DoesNotExist':
      return { text: `has no ${key}`, holds: (labels) => labelOf(labels, key) === undefined };
  }
}

function labelValue(text: string): string {
  if (!isLabelValue(text)) throw new TypeError(`'${excerpt(text, 60)}' is not a label’s value`);
  return text;
}

function labelOf(labels: Labels, key: string): string | undefined {
  return Object.hasOwn(labels, key) ? labels[key] : undefined;
}

function isOneOf(set: ReadonlySet<string>, value: string | undefined): boolean {
  return value !== undefined && set.has(value);
}
