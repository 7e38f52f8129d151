import { type ElementText, fieldsOf } from './element.ts';
import { declarationOf, portableText } from './field.ts';
import {
  type Chain,
  type FieldTypes,
  type Flowtable,
  type Hook,
  type SetValue,
  type Table,
  tableName,
} from './table.ts';

/** Renders `table … { … }` for `nft -f`, with the elements of its sets and maps. */
export function tableText(table: Table, elements: readonly ElementText[] = []): string {
  const bySet = new Map<string, ElementText[]>();
  for (const element of elements) {
    const list = bySet.get(element.set);
    if (list) list.push(element);
    else bySet.set(element.set, [element]);
  }
  return [
    `table ${tableName(table)} {`,
    ...(table.sets ?? []).flatMap((set) => setLines(set, bySet.get(set.name) ?? [])),
    ...(table.flowtables ?? []).flatMap((each) => flowtableLines(each, bySet.get(each.name) ?? [])),
    ...table.chains.flatMap(chainLines),
    '}',
    '',
  ].join('\n');
}

/** Replaces the table, if it exists, within the surrounding transaction. */
export function replaceText(table: Table, elements: readonly ElementText[]): string {
  return `${deleteText(table)}${tableText(table, elements)}`;
}

/** Deletes the table if it exists: declaring it first creates a missing one. */
export function deleteText(table: Pick<Table, 'family' | 'table'>): string {
  const name = tableName(table);
  return `table ${name}\ndelete table ${name}\n`;
}

function setLines(
  { name, key, data, interval, counts, size, dynamic }: SetValue,
  elements: readonly ElementText[],
): string[] {
  const of = data === undefined ? '' : ` : ${data === 'verdict' ? data : data.join(' . ')}`;
  const lines = [`  ${data === undefined ? 'set' : 'map'} ${name} {`, `    ${declarationOf(key)}${of}`];
  if (size !== undefined) lines.push(`    size ${size}`);
  if (interval) lines.push('    flags interval');
  if (counts) lines.push('    counter');
  if (dynamic) lines.push('    flags dynamic,timeout', `    timeout ${dynamic.timeout}`);
  if (elements.length > 0) {
    const texts = elements.map((element) => elementText(element, key, data));
    lines.push(`    elements = { ${texts.join(',\n      ')} }`);
  }
  return [...lines, '  }'];
}

function elementText({ key, data }: ElementText, keyType: FieldTypes, dataType: SetValue['data']): string {
  const left = portable(keyType, key);
  if (data === undefined) return left;
  return `${left} : ${dataType === 'verdict' || dataType === undefined ? data : portable(dataType, data)}`;
}

function portable(types: FieldTypes, text: string): string {
  return fieldsOf(text)
    .map((field, i) => portableText(types[i] ?? types[0], field))
    .join(' . ');
}

function flowtableLines({ name, priority }: Flowtable, devices: readonly ElementText[]): string[] {
  const names = devices.map(({ key }) => key);
  return [
    `  flowtable ${name} {`,
    `    hook ingress priority ${priority}`,
    ...(names.length > 0 ? [`    devices = { ${names.join(', ')} }`] : []),
    '  }',
  ];
}

function chainLines({ name, hook, rules }: Chain): string[] {
  return [
    `  chain ${name} {`,
    ...(hook ? [`    ${hookText(hook)}`] : []),
    ...rules.map(({ rule, comment }) => `    ${rule}${comment === undefined ? '' : ` comment "${comment}"`}`),
    '  }',
  ];
}

function hookText({ type, hook, priority, policy = 'accept', device }: Hook): string {
  const at = device === undefined ? '' : ` device "${device}"`;
  return `type ${type} hook ${hook}${at} priority ${priority}; policy ${policy};`;
}
