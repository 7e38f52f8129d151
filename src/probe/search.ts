/** Sizes tried at once. */
const BRANCHES = 12;

/**
 * Returns the largest size from `least` to `most` that passes, if all smaller ones do; `least` is not tried.
 * Tries several at once, as a packet that is too large is mostly met with silence, and silence takes time.
 */
export async function search(
  least: number,
  most: number,
  passes: (size: number) => Promise<boolean>,
): Promise<number> {
  let [low, high] = [least, most];
  while (low < high) {
    const step = Math.ceil((high - low) / BRANCHES);
    const count = Math.ceil((high - low) / step);
    const sizes = Array.from({ length: count }, (_, i) => Math.min(low + (i + 1) * step, high));
    const results = await Promise.all(sizes.map(passes));
    const failed = results.indexOf(false);
    if (failed < 0) return high;
    high = (sizes[failed] ?? high) - 1;
    low = sizes[failed - 1] ?? low;
  }
  return low;
}
