import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Labels, parseSelector } from '../../src/cluster/selector.ts';

type Tree =
  | { op: 'all' | 'global' }
  | { op: 'has'; label: string }
  | { op: '==' | '!=' | 'contains' | 'starts with' | 'ends with'; label: string; value: string }
  | { op: 'in' | 'not in'; label: string; values: string[] }
  | { op: '!'; of: Tree }
  | { op: '&&' | '||'; of: Tree[] };

const label = fc.oneof(
  fc.constantFrom(
    'rack',
    'zone',
    'in',
    'not',
    'has',
    'all',
    'contains',
    'constructor',
    '__proto__',
    'a.b/c-d',
  ),
  fc.stringMatching(/^[a-zA-Z0-9_./-]{1,8}$/),
);
const value = fc.oneof(
  fc.constantFrom('', 'a', 'ab', 'abc', 'b', "it's"),
  fc.string({ maxLength: 6 }).filter((text) => !(text.includes("'") && text.includes('"'))),
);

const { tree } = fc.letrec<{ tree: Tree }>((tie) => ({
  tree: fc.oneof(
    { maxDepth: 4 },
    fc.record({ op: fc.constantFrom('all' as const, 'global' as const) }),
    fc.record({ op: fc.constant('has' as const), label }),
    fc.record({
      op: fc.constantFrom(...(['==', '!=', 'contains', 'starts with', 'ends with'] as const)),
      label,
      value,
    }),
    fc.record({
      op: fc.constantFrom('in' as const, 'not in' as const),
      label,
      values: fc.array(value, { maxLength: 3 }),
    }),
    fc.record({ op: fc.constant('!' as const), of: tie('tree') }),
    fc.record({
      op: fc.constantFrom('&&' as const, '||' as const),
      of: fc.array(tie('tree'), { minLength: 2, maxLength: 3 }),
    }),
  ),
}));

const quote = (text: string): string => (text.includes("'") ? `"${text}"` : `'${text}'`);

/** Uses only the parentheses that precedence requires. */
function write(of: Tree, space: string, around: '||' | '&&' | '!' = '||'): string {
  const order = ['||', '&&', '!'];
  const inner = (part: Tree, op: '||' | '&&' | '!'): string => write(part, space, op);
  switch (of.op) {
    case 'all':
    case 'global':
      return `${of.op}(${space})`;
    case 'has':
      return `has(${space}${of.label}${space})`;
    case 'in':
    case 'not in':
      return `${of.label} ${of.op.replace(' ', ` ${space}`)}${space}{${space}${of.values.map(quote).join(`${space},${space}`)}${space}}`;
    case '!':
      return `!${space}${inner(of.of, '!')}`;
    case '&&':
    case '||': {
      const text = of.of.map((part) => inner(part, of.op)).join(`${space}${of.op}${space}`);
      return order.indexOf(of.op) < order.indexOf(around) ? `(${space}${text}${space})` : text;
    }
    default:
      return `${of.label} ${of.op}${space}${quote(of.value)}`;
  }
}

function evaluate(of: Tree, labels: ReadonlyMap<string, string>): boolean {
  switch (of.op) {
    case 'all':
    case 'global':
      return true;
    case 'has':
      return labels.has(of.label);
    case '==':
      return labels.get(of.label) === of.value;
    case '!=':
      return labels.get(of.label) !== of.value;
    case 'contains':
      return labels.get(of.label)?.includes(of.value) ?? false;
    case 'starts with':
      return labels.get(of.label)?.startsWith(of.value) ?? false;
    case 'ends with':
      return labels.get(of.label)?.endsWith(of.value) ?? false;
    case 'in':
    case 'not in': {
      const text = labels.get(of.label);
      return (text !== undefined && of.values.includes(text)) === (of.op === 'in');
    }
    case '!':
      return !evaluate(of.of, labels);
    case '&&':
      return of.of.every((part) => evaluate(part, labels));
    case '||':
      return of.of.some((part) => evaluate(part, labels));
  }
}

test('a selector matches exactly when its tree does', () => {
  const labels = fc.array(fc.tuple(label, value), { maxLength: 6 });
  const space = fc.constantFrom('', ' ', ' \t ');
  fc.assert(
    fc.property(tree, labels, space, (of, entries, gap) => {
      const map = new Map(entries);
      const record = Object.fromEntries(map) as Labels;
      assert.equal(parseSelector(`${gap}${write(of, gap)}${gap}`)(record), evaluate(of, map));
    }),
    { numRuns: 2000 },
  );
});

test('an empty selector selects everything', () => {
  for (const text of ['', '  ', '\t']) assert.equal(parseSelector(text)({}), true);
});

test('names of Object.prototype are not labels', () => {
  for (const name of ['constructor', 'toString', '__proto__']) {
    assert.equal(parseSelector(`has(${name})`)({}), false);
    assert.equal(parseSelector(`${name} != 'x'`)({}), true);
    assert.equal(parseSelector(`${name} not in {'x',}`)({}), true);
  }
});

const WRONG: readonly [string, number, RegExp][] = [
  ['rack', 5, /expected ==.*'rack', but the selector ends/],
  ["rack = 'a'", 6, /expected ==/],
  ['rack == a', 9, /a text in quotes, but there is 'a'/],
  ["rack == 'a", 9, /a text in quotes/],
  ["rack == 'a' &", 13, /'&&', '\|\|' or the end/],
  ["rack == 'a' && ", 16, /a label/],
  ["(rack == 'a'", 13, /expected '\)'/],
  ["rack == 'a')", 12, /the end/],
  ["rack in 'a'", 9, /'\{'/],
  ["rack in {'a' 'b'}", 14, /'\}'/],
  ['rack in {,}', 10, /a text in quotes/],
  ['has()', 5, /a label/],
  ['has(a', 6, /'\)'/],
  ['all', 4, /expected ==/],
  ['!', 2, /a label/],
  ['ra\nck', 3, /expected ==/],
  ['ä', 1, /a label/],
  [`${'('.repeat(100_000)}all()`, 102, /more than 100 nested parentheses/],
];

for (const [text, position, message] of WRONG) {
  test(`'${text.slice(0, 20).replace('\n', ' ')}' is refused at its position`, () => {
    assert.throws(() => parseSelector(text), { code: 'CONFIG_INVALID', message });
    assert.throws(() => parseSelector(text), { message: new RegExp(`at position ${position} of`) });
  });
}

test('any text either parses or is refused with a position', () => {
  const parts = fc.constantFrom(
    '!',
    '(',
    ')',
    '{',
    '}',
    ',',
    '&&',
    '||',
    '==',
    '!=',
    'in',
    'not',
    ' ',
    "'x'",
    'a',
    'has(',
    'all()',
    'starts with',
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(parts).map((all) => all.join('')),
      ),
      (text) => {
        try {
          parseSelector(text)({ a: 'x' });
        } catch (error) {
          assert.match(String(error), /at position \d+ of/);
        }
      },
    ),
    { numRuns: 2000 },
  );
});
