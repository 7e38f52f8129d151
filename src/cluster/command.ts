/** A piece of a word: text as it is, or the value of a variable. */
type Part = string | { readonly variable: string };

/** One argument of a command, before its variables have values. */
export type Word = readonly Part[];

/** What only a shell understands, where it is not quoted. */
const SHELL = /[|&;<>()`]/;
const NAME = /^\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))/;

/**
 * Splits a command into words as a shell would (POSIX, 2.2 and 2.3), without being one: blanks separate,
 * single quotes keep everything, double quotes all but `$`, a backslash keeps the next character. Nothing
 * that a variable holds is ever split. Throws an error for people: for a quote without its end, a variable
 * that is not among `variables`, and whatever needs a shell.
 */
export function parseCommand(text: string, variables: readonly string[]): readonly Word[] {
  const words: Word[] = [];
  let word: Part[] | undefined;
  let quote = '';
  const add = (part: Part): void => {
    word ??= [];
    const last = word.at(-1);
    if (typeof part === 'string' && typeof last === 'string') word[word.length - 1] = last + part;
    else word.push(part);
  };
  for (let i = 0; i < text.length; i++) {
    const letter = text.charAt(i);
    if (quote === "'") {
      if (letter === quote) quote = '';
      else add(letter);
    } else if (letter === quote) quote = '';
    else if (letter === '\\' && (quote === '' || '$"\\`'.includes(text.charAt(i + 1)))) {
      i++;
      if (i === text.length) throw new Error('ends with a backslash');
      add(text.charAt(i));
    } else if (letter === '$') {
      const [found, braced, plain] = NAME.exec(text.slice(i)) ?? [];
      if (found === undefined) throw needsShell('$');
      add({ variable: known(braced ?? plain ?? '', variables) });
      i += found.length - 1;
    } else if (quote !== '') add(letter);
    else if (letter === '"' || letter === "'") {
      quote = letter;
      add('');
    } else if (/\s/.test(letter)) {
      if (word) words.push(word);
      word = undefined;
    } else if (SHELL.test(letter)) throw needsShell(letter);
    else add(letter);
  }
  if (quote !== '') throw new Error(`a ${quote} lacks its other half`);
  if (word) words.push(word);
  if (words.length === 0) throw new Error('names no program');
  return words;
}

/** The arguments; a variable without a value is empty. */
export function expandWords(
  words: readonly Word[],
  values: Readonly<Record<string, string>>,
): readonly string[] {
  return words.map((word) =>
    word.map((part) => (typeof part === 'string' ? part : (values[part.variable] ?? ''))).join(''),
  );
}

function known(name: string, variables: readonly string[]): string {
  if (variables.includes(name)) return name;
  const those = variables.length > 0 ? `those here are ${variables.join(', ')}` : 'there are none here';
  throw new Error(`there is no variable ${name}: ${those}; write \\$ for the character`);
}

function needsShell(letter: string): Error {
  return new Error(`an unquoted ${letter} is for a shell: quote it, or set shell to true`);
}
