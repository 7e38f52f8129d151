import { type FieldType, type FieldValues, fieldText } from './field.ts';
import { type FieldTypes, type Flowtable, type Holder, isFlowtable, type SetValue } from './table.ts';

/** The verdict of a verdict map's element. */
export type Verdict =
  | 'accept'
  | 'drop'
  | 'return'
  | 'continue'
  | { readonly jump: string }
  | { readonly goto: string };

/** An element as canonical text: `10.0.0.1 . tcp . 80`, with data `goto web`. */
export type ElementText = { readonly set: string; readonly key: string; readonly data?: string };

/** An element of a set with `dynamic`, which goes after so many milliseconds. */
export type PassingElement = ElementText & { readonly timeout: number };

type Values<T extends FieldTypes> = {
  readonly [I in keyof T]: T[I] extends FieldType ? FieldValues[T[I]] : never;
};
type DataOf<D> = D extends 'verdict' ? [data: Verdict] : D extends FieldTypes ? [data: Values<D>] : [];

type AnyValues = readonly FieldValues[FieldType][];

/** Creates an element of a set, or of a map with its data, type-checked against the set's declaration. */
export function elementOf<K extends FieldTypes, D extends FieldTypes | 'verdict' | undefined>(
  set: SetValue<K, D>,
  key: Values<K>,
  ...data: DataOf<D>
): ElementText;
/** Creates a flowtable's element: a device. */
export function elementOf(flowtable: Flowtable, device: readonly [string]): ElementText;
export function elementOf(set: Holder, key: AnyValues, data?: Verdict | AnyValues): ElementText {
  if (isFlowtable(set)) return { set: set.name, key: fieldsText(['ifname'], key) };
  const element = { set: set.name, key: fieldsText(set.key, key) };
  if (data === undefined) return element;
  if (isVerdict(data)) return { ...element, data: verdictText(data) };
  const isOfFields = set.data !== undefined && set.data !== 'verdict';
  return isOfFields ? { ...element, data: fieldsText(set.data, data) } : element;
}

/** Splits a concatenation into its fields. */
export function fieldsOf(text: string): string[] {
  return text.split(' . ');
}

function fieldsText(types: FieldTypes, values: AnyValues): string {
  const texts = types.flatMap((type, i) => {
    const value = values[i];
    return value === undefined ? [] : [fieldText<FieldType>(type, value)];
  });
  return texts.join(' . ');
}

function isVerdict(data: Verdict | AnyValues): data is Verdict {
  return typeof data === 'string' || 'jump' in data || 'goto' in data;
}

function verdictText(verdict: Verdict): string {
  if (typeof verdict === 'string') return verdict;
  return 'jump' in verdict ? `jump ${verdict.jump}` : `goto ${verdict.goto}`;
}
