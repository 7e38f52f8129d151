/**
 * Returns the known word that `word` is most likely a misspelling of, whatever its case; undefined if none is
 * near.
 */
export function nearest(word: string, known: readonly string[]): string | undefined {
  const written = word.toLowerCase();
  // A third of the letters may be wrong: more would propose words that have nothing to do with it.
  let best = Math.floor(word.length / 3) + 1;
  let found: string | undefined;
  for (const each of known) {
    const distance = edits(written, each.toLowerCase());
    if (distance >= best) continue;
    best = distance;
    found = each;
  }
  return found;
}

/** The number of letters to insert, delete, replace or swap with the next to make `b` of `a`. */
function edits(a: string, b: string): number {
  const rows = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  const at = (i: number, j: number): number => rows[i]?.[j] ?? Infinity;
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    rows.push(row);
    for (let j = 1; j <= b.length; j++) {
      const isSwap = a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      row.push(
        Math.min(
          at(i - 1, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1),
          at(i - 1, j) + 1,
          at(i, j - 1) + 1,
          isSwap ? at(i - 2, j - 2) + 1 : Infinity,
        ),
      );
    }
  }
  return at(a.length, b.length);
}
