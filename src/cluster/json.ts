/** A string, or a mark that opens, closes or divides an object or a list. */
const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\]:]/g;

/**
 * Reads JSON that a person may have written, like `JSON.parse`, except that a key that occurs twice in an
 * object is an error instead of the last one winning. Throws SyntaxError.
 */
export function parseJson(text: string): unknown {
  const value: unknown = JSON.parse(text);
  const twice = repeatedKey(text);
  if (twice !== undefined) throw new SyntaxError(`the key ${twice} occurs twice in one object`);
  return value;
}

/** Returns the first repeated key of valid JSON, in quotes. */
function repeatedKey(json: string): string | undefined {
  const objects: Set<string>[] = [];
  let last = '';
  for (const [token] of json.matchAll(TOKEN)) {
    if (token === '{' || token === '[') objects.push(new Set());
    else if (token === '}' || token === ']') objects.pop();
    else if (token === ':') {
      const keys = objects.at(-1);
      // Escapes may spell the same key differently.
      const key = JSON.stringify(JSON.parse(last));
      if (keys?.has(key)) return key;
      keys?.add(key);
    }
    last = token;
  }
  return undefined;
}
