import fc from 'fast-check';

/** What a mutation puts in the place of a part of a value. */
const JUNK: readonly unknown[] = [
  null,
  true,
  '',
  'text',
  'a\nb\u0000\u001b[2J"`$(x)\\',
  'x'.repeat(5000),
  '999999999999999999999',
  '::',
  '0.0.0.0/0',
  '255.255.255.255/32',
  0,
  -1,
  1.5,
  1e308,
  2 ** 53,
  -0,
  [],
  {},
  [[[[[]]]]],
  [null, 7, 'x', {}],
  { toString: 1, constructor: null, length: -1 },
  JSON.parse('{"__proto__": {"polluted": true}, "constructor": {"prototype": {"polluted": true}}}'),
  JSON.parse(`${'['.repeat(300)}${']'.repeat(300)}`),
];
const KEYS = ['__proto__', 'constructor', 'toString', 'name', 'NAME', '', 'x'.repeat(300), '0'];

type Step = {
  readonly at: number;
  readonly how: 'remove' | 'junk' | 'twice' | 'more';
  readonly what: number;
};

const steps = fc.array(
  fc.record<Step>({
    at: fc.nat(1000),
    how: fc.constantFrom('remove', 'junk', 'junk', 'twice', 'more'),
    what: fc.nat(1000),
  }),
  { minLength: 1, maxLength: 3 },
);

/**
 * Texts like a valid one of JSON with a few parts removed, replaced, repeated or added; now and then cut off,
 * with a key that occurs twice, or with numbers that JSON lacks.
 */
export function mutationsOf(valid: string): fc.Arbitrary<string> {
  return fc
    .tuple(steps, fc.nat(30), fc.nat(valid.length))
    .map(([all, form, at]) => asText(JSON.stringify(all.reduce(apply, JSON.parse(valid))) ?? '', form, at));
}

function asText(text: string, form: number, at: number): string {
  switch (form) {
    case 0:
      return text.slice(0, at);
    case 1:
      return text.replace(/^\{("[^"]*":)/, '{$10,$1');
    case 2:
      return text.replace(/:\d+/, ':NaN');
    case 3:
      return text.replace(/:\d+/, `:${'9'.repeat(400)}`);
    case 4:
      return `${text}${text}`;
    default:
      return text;
  }
}

type Place = { readonly holder: Record<string, unknown> | unknown[]; readonly key: string };

function apply(value: unknown, { at, how, what }: Step): unknown {
  const root = { value: structuredClone(value) };
  const places = placesIn(root);
  const place = places[at % places.length];
  if (!place) return value;
  const { holder, key } = place;
  const junk = JUNK[what % JUNK.length];
  if (how === 'remove' && Array.isArray(holder)) holder.splice(Number(key), 1);
  else if (how === 'remove' && key !== 'value') Reflect.deleteProperty(holder, key);
  else if (how === 'twice' && Array.isArray(holder)) holder.push(Reflect.get(holder, key));
  else if (how === 'more') define(holder, KEYS[what % KEYS.length] ?? '', junk);
  else define(holder, key, junk);
  return root.value;
}

/** Also for `__proto__`, which an assignment would not make a property. */
function define(holder: object, key: string, value: unknown): void {
  if (Array.isArray(holder) && !/^\d+$/.test(key)) holder.push(value);
  else Object.defineProperty(holder, key, { value, writable: true, enumerable: true, configurable: true });
}

function placesIn(holder: object): Place[] {
  return Object.entries(holder).flatMap(([key, value]) => [
    { holder: holder as Place['holder'], key },
    ...(typeof value === 'object' && value !== null ? placesIn(value) : []),
  ]);
}
