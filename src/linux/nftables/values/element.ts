import { type FieldType, type FieldValues, fieldText } from './field.ts';
import type { FieldTypes, SetValue } from './table.ts';

/** What becomes of a packet that an element of a verdict map matches. */
export type Verdict =
  | 'accept'
  | 'drop'
  | 'return'
  | 'continue'
  | { readonly jump: string }
  | { readonly goto: string };

/** An element as text, which is the same whenever it means the same: `10.0.0.1 . tcp . 80`, `goto web`. */
export type ElementText = { readonly set: string; readonly key: string; readonly data?: string };

type Values<T extends FieldTypes> = {
  readonly [I in keyof T]: T[I] extends FieldType ? FieldValues[T[I]] : never;
};
type DataOf<D> = D extends 'verdict' ? [data: Verdict] : D extends FieldTypes ? [data: Values<D>] : [];

/** An element of a set, or of a map with its data, checked against the set's own types. */
export function elementOf<K extends FieldTypes, D extends FieldTypes | 'verdict' | undefined>(
  set: SetValue<K, D>,
  key: Values<K>,
  ...data: DataOf<D>
): ElementText;
export function elementOf(
  set: SetValue,
  key: readonly FieldValues[FieldType][],
  data?: Verdict | readonly FieldValues[FieldType][],
): ElementText {
  const text = fieldsText(set.key, key);
  if (data === undefined) return { set: set.name, key: text };
  const value =
    set.data === 'verdict' || set.data === undefined
      ? verdictText(data as Verdict)
      : fieldsText(set.data, data as readonly FieldValues[FieldType][]);
  return { set: set.name, key: text, data: value };
}

/** The fields of a concatenation. */
export function fieldsOf(text: string): string[] {
  return text.split(' . ');
}

function fieldsText(types: FieldTypes, values: readonly FieldValues[FieldType][]): string {
  return types.map((type, i) => fieldText(type, values[i] as never)).join(' . ');
}

function verdictText(verdict: Verdict): string {
  if (typeof verdict === 'string') return verdict;
  return 'jump' in verdict ? `jump ${verdict.jump}` : `goto ${verdict.goto}`;
}
