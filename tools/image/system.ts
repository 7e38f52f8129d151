// The parts of the image that are not ours: BIRD, nft, the libraries of all programs, certificates, Node.
import { execFileSync } from 'node:child_process';
import { copyFileSync, globSync, lstatSync, mkdtempSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { PACKAGES, readLock, unpack } from './debian.ts';
import { packageFolder } from './npm.ts';
import type { Architecture } from './oci.ts';
import { type Entry, file, folder, link, type Tree } from './tar.ts';

/** Debian's and Node's names for an architecture. */
export const NAMES = {
  amd64: { triplet: 'x86_64-linux-gnu', node: 'x64', loader: 'ld-linux-x86-64.so.2' },
  arm64: { triplet: 'aarch64-linux-gnu', node: 'arm64', loader: 'ld-linux-aarch64.so.1' },
} as const;

/** What Node is linked with, apart from the loader. */
export const LIBRARIES_OF_NODE =
  'libatomic.so.1 libc.so.6 libdl.so.2 libgcc_s.so.1 libm.so.6 libpthread.so.0 libstdc++.so.6'.split(' ');

/** Parts of the C library, and others that nothing here uses. */
const UNUSED =
  /^lib(?:BrokenLocale|anl|c_malloc_debug|memusage|mvec|nsl|nss_[a-z]+|pcprofile|thread_db|tic|util)\.so/;

/** Returns Debian's part, with a list of what it consists of. */
export function debianTree(architecture: Architecture, lock: string, cache: string): Tree {
  const packages = readLock(lock, architecture);
  const missing = PACKAGES.filter((name) => !(name in packages));
  if (missing.length > 0) throw new Error(`${lock} lacks ${missing.join(' ')}`);
  const root = mkdtempSync(join(tmpdir(), 'flatnet-image-'));
  try {
    unpack(packages, architecture, cache, root);
    return new Map<string, Entry>([
      ...skeleton(),
      ...programs(root),
      ...libraries(root, architecture),
      ...certificates(root),
      ...copyrights(root, Object.keys(packages)),
      ['usr/share/flatnet/debian.json', file(`${JSON.stringify(packages, undefined, 2)}\n`)],
    ]);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

function skeleton(): Tree {
  const folders = ['dev', 'etc', 'proc', 'run', 'sys', 'var/lib'].map((name) => [name, folder()] as const);
  return new Map<string, Entry>([
    ...folders,
    ['tmp', folder(0o1777)],
    // As on every merged system: programs are found under their old names too.
    ...['bin', 'lib', 'lib64', 'sbin'].map((name) => [name, link(`usr/${name}`)] as const),
    ['var/run', link('/run')],
    ['etc/passwd', file('root:x:0:0:root:/:/nonexistent\nnobody:x:65534:65534:nobody:/:/nonexistent\n')],
    ['etc/group', file('root:x:0:\nnogroup:x:65534:\n')],
    ['etc/nsswitch.conf', file('hosts: files dns\n')],
  ]);
}

function programs(root: string): Tree {
  // birdc needs readline; birdcl does the same.
  const names = ['usr/sbin/bird', 'usr/sbin/birdcl', 'usr/sbin/nft'];
  return new Map(names.map((name) => [name, file(readFileSync(join(root, name)), 0o755)]));
}

function libraries(root: string, architecture: Architecture): Tree {
  const { triplet, loader } = NAMES[architecture];
  const tree: Tree = new Map();
  for (const above of ['', 'usr/']) {
    for (const path of globSync(`${above}lib/${triplet}/*.so*`, { cwd: root }).sort()) {
      const from = join(root, path);
      const target = join('usr/lib', triplet, basename(path));
      const isLink = lstatSync(from).isSymbolicLink();
      if (UNUSED.test(basename(path))) continue;
      const mode = path.endsWith(loader) ? 0o755 : 0o644;
      tree.set(target, isLink ? link(basename(readlinkSync(from))) : file(readFileSync(from), mode));
    }
  }
  const wellKnown = architecture === 'amd64' ? `usr/lib64/${loader}` : `usr/lib/${loader}`;
  tree.set('usr/lib64', folder());
  tree.set(wellKnown, link(`/usr/lib/${triplet}/${loader}`));
  return tree;
}

/** What update-ca-certificates(8) makes of them. */
function certificates(root: string): Tree {
  const files = globSync('usr/share/ca-certificates/mozilla/*.crt', { cwd: root }).sort();
  const texts = files.map((name) => readFileSync(join(root, name), 'utf8').trimEnd());
  return new Map([['etc/ssl/certs/ca-certificates.crt', file(`${texts.join('\n')}\n`)]]);
}

function copyrights(root: string, names: readonly string[]): Tree {
  const paths = names.map((name) => `usr/share/doc/${name}/copyright`);
  const present = paths.filter((path) => lstatSync(join(root, path), { throwIfNoEntry: false })?.isFile());
  return new Map(present.map((path) => [path, file(readFileSync(join(root, path)))]));
}

/** Node without its symbol tables: 117 MB instead of 150. The dynamic symbols, which koffi uses, stay. */
export function nodeTree(architecture: Architecture, cache: string): Tree {
  const { node, triplet } = NAMES[architecture];
  const from = packageFolder(`node-linux-${node}`, cache);
  const working = mkdtempSync(join(tmpdir(), 'flatnet-image-'));
  try {
    const stripped = join(working, 'node');
    copyFileSync(join(from, 'bin/node'), stripped);
    execFileSync(process.arch === node ? 'strip' : `${triplet}-strip`, ['--strip-unneeded', stripped]);
    return new Map([
      ['opt/flatnet/dist/node', file(readFileSync(stripped), 0o755)],
      ['usr/share/doc/node/LICENSE', file(readFileSync(join(from, 'LICENSE')))],
    ]);
  } finally {
    rmSync(working, { recursive: true, force: true });
  }
}
