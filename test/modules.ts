import { globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';

/** The imports and exports of a source file below `src/`. */
export type Module = {
  /** `src/ip/cidr.ts`. */
  readonly path: string;
  /** Without comments. */
  readonly text: string;
  /** All imports, including types and dynamic ones; modules of the project by path. */
  readonly imports: readonly Import[];
  readonly exports: readonly string[];
};

export type Import = {
  /** `src/ip/cidr.ts`, or `node:fs`. */
  readonly target: string;
  /** The imported names; `*` for all. */
  readonly names: readonly string[];
};

/** Reads every module that matches a pattern. Relies on the code being formatted by our formatter. */
export function readModules(pattern: string): Module[] {
  return globSync(pattern).map((path) => {
    const text = readFileSync(path, 'utf8').replaceAll(/^\s*(\/\*\*?[\s\S]*?\*\/|\/\/.*)$/gm, '');
    return { path, text, imports: importsOf(path, text), exports: exportsOf(text) };
  });
}

const STATIC = /^(?:import|export)\s+(?:type\s+)?(\{[^}]*\}|\*(?: as \w+)?)\s+from\s+'([^']+)';/gm;
const DYNAMIC = /\bimport\('([^']+)'\)/g;
const EXPORT =
  /^export (?:default )?(?:async )?(?:abstract )?(?:type|class|function\*?|const|let) (\w+|\{[^}]*\})/gm;

function importsOf(path: string, text: string): Import[] {
  const target = (written: string): string =>
    written.startsWith('.') ? normalize(join(dirname(path), written)) : written;
  return [
    ...[...text.matchAll(STATIC)].map(([, names = '', from = '']) => ({
      target: target(from),
      names: names.startsWith('*') ? ['*'] : namesIn(names),
    })),
    ...[...text.matchAll(DYNAMIC)].map(([, from = '']) => ({ target: target(from), names: ['*'] })),
  ];
}

function exportsOf(text: string): string[] {
  return [...text.matchAll(EXPORT)].flatMap(([, names = '']) =>
    names.startsWith('{') ? namesIn(names) : [names],
  );
}

/** `{ type A, b as c }` → A, b. */
function namesIn(list: string): string[] {
  return list
    .replaceAll(/[{}]/g, '')
    .split(',')
    .map(
      (each) =>
        each
          .trim()
          .replace(/^type /, '')
          .split(' as ')[0] ?? '',
    )
    .filter(Boolean);
}
