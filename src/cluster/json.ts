/** No value of ours is nested deeper; what walks a value recursively would run out of stack. */
const MAX_DEPTH = 64;

/** A string, or a mark that opens, closes or divides an object or a list. */
const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\]:]/g;

/** Reads JSON from anybody, like `JSON.parse`, but not nested too deeply. Throws SyntaxError. */
export function parseForeignJson(text: string): unknown {
  const value: unknown = JSON.parse(text);
  // Each level takes two brackets.
  if (text.length > 2 * MAX_DEPTH && depthOf(text) > MAX_DEPTH)
    throw new SyntaxError(`is nested more than ${MAX_DEPTH} levels deep`);
  return value;
}

/** Returns how deeply valid JSON is nested. Fast: every ADD reads blocks. */
function depthOf(json: string): number {
  let [depth, deepest, inString] = [0, 0, false];
  for (let i = 0; i < json.length; i++) {
    const character = json[i];
    if (inString && character === '\\') i++;
    else if (character === '"') inString = !inString;
    else if (inString) continue;
    else if (character === '{' || character === '[') deepest = Math.max(deepest, ++depth);
    else if (character === '}' || character === ']') depth--;
  }
  return deepest;
}

/**
 * Reads JSON that a person may have written, like `parseForeignJson`, except that a key that occurs twice in
 * an object is an error instead of the last one winning. Throws SyntaxError.
 */
export function parseJson(text: string): unknown {
  const value = parseForeignJson(text);
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
