/** One entry of a layer. Everything belongs to root, and is as old as every other. */
export type Entry = { readonly mode: number } & (
  | { readonly type: 'file'; readonly content: Buffer }
  | { readonly type: 'link'; readonly target: string }
  | { readonly type: 'folder' }
);

/** Entries by path, without a leading slash. Folders that lead to an entry need not be named. */
export type Tree = Map<string, Entry>;

export const file = (content: Buffer | string, mode = 0o644): Entry => ({
  type: 'file',
  content: Buffer.from(content),
  mode,
});

export const link = (target: string): Entry => ({ type: 'link', target, mode: 0o777 });

export const folder = (mode = 0o755): Entry => ({ type: 'folder', mode });

const TYPE_FLAG = { file: '0', link: '2', folder: '5' } as const;
const BLOCK = 512;

/** Writes an archive in the format ustar (POSIX.1-1988), sorted by name. `time`: seconds since 1970, of all entries. */
export function tar(tree: Tree, time: number): Buffer {
  const whole = new Map(tree);
  for (const path of tree.keys()) {
    for (let at = path.lastIndexOf('/'); at > 0; at = path.lastIndexOf('/', at - 1)) {
      const above = path.slice(0, at);
      if (!whole.has(above)) whole.set(above, folder());
    }
  }
  const parts: Buffer[] = [];
  for (const path of [...whole.keys()].sort()) {
    const entry = whole.get(path) ?? folder();
    parts.push(header(entry.type === 'folder' ? `${path}/` : path, entry, time));
    if (entry.type !== 'file') continue;
    parts.push(entry.content, Buffer.alloc(-entry.content.length & (BLOCK - 1)));
  }
  return Buffer.concat([...parts, Buffer.alloc(2 * BLOCK)]);
}

function header(path: string, entry: Entry, time: number): Buffer {
  const block = Buffer.alloc(BLOCK);
  const text = (at: number, length: number, value: string): void => {
    if (Buffer.byteLength(value) > length) throw new Error(`too long for an archive: ${value}`);
    block.write(value, at);
  };
  const octal = (at: number, length: number, value: number): void =>
    text(at, length, `${value.toString(8).padStart(length - 1, '0')}\0`);
  const [prefix, name] = split(path);
  text(0, 100, name);
  octal(100, 8, entry.mode);
  octal(108, 8, 0);
  octal(116, 8, 0);
  octal(124, 12, entry.type === 'file' ? entry.content.length : 0);
  octal(136, 12, time);
  block.fill(' ', 148, 156);
  text(156, 1, TYPE_FLAG[entry.type]);
  text(157, 100, entry.type === 'link' ? entry.target : '');
  text(257, 8, 'ustar\x0000');
  text(345, 155, prefix);
  const sum = block.reduce((total, byte) => total + byte, 0);
  text(148, 8, `${sum.toString(8).padStart(6, '0')}\0 `);
  return block;
}

/** A long path is split at a slash: 155 bytes before it, 100 after it. */
function split(path: string): [string, string] {
  if (path.length <= 100) return ['', path];
  const at = path.indexOf('/', path.length - 101);
  return [path.slice(0, at), path.slice(at + 1)];
}
