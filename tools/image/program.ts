// Our part of the image: `/opt/flatnet`.
import { execFileSync } from 'node:child_process';
import { globSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bundle } from '../bundle/bundle.ts';
import { packageFolder } from './npm.ts';
import type { Architecture } from './oci.ts';
import { LIBRARIES_OF_NODE, NAMES } from './system.ts';
import { type Entry, file, link, type Tree } from './tar.ts';

const ROOT = join(import.meta.dirname, '../..');

export async function programTree(architecture: Architecture, cache: string, node: Buffer): Promise<Tree> {
  const names = NAMES[architecture];
  // Always the same, as it is part of what V8 stores; scripts/image lets one build run at a time.
  const working = '/tmp/flatnet-image';
  rmSync(working, { recursive: true, force: true });
  mkdirSync(working, { mode: 0o700 });
  try {
    const dist = join(working, 'dist');
    mkdirSync(dist);
    await bundle(dist);
    const koffi = `${packageFolder(`@koromix/koffi-linux-${names.node}`, cache)}/linux_${names.node}/koffi.node`;
    writeFileSync(join(dist, 'koffi.node'), readFileSync(koffi));
    const launcher = compile('tools/launcher/launcher.c', architecture, working);
    const holder = compile('tools/holder/bird-holder.c', architecture, working);
    const shim = compile('src/cni/shim/shim.c', architecture, working);
    const forwarder = compile('src/companions/udp/native/*.c', architecture, working, '-O3');
    if (process.arch === names.node) fillCompileCache(working, node);
    const inDist = readdirSync(dist, { recursive: true, withFileTypes: true })
      .filter((each) => each.isFile() && each.name !== 'node')
      .map((each) => join(each.parentPath, each.name));
    const own = (path: string): Buffer => readFileSync(join(ROOT, path));
    const tree: Tree = new Map<string, Entry>([
      ['bin/flatnet', file(launcher, 0o755)],
      ['bin/bird-holder', file(holder, 0o755)],
      ['dist/flatnet-cni', file(shim, 0o755)],
      ['dist/flatnet-fallback', file(launcher, 0o755)],
      ['dist/flatnet-udp', file(forwarder, 0o755)],
      ['share/answer.sh', file(own('share/answer.sh'), 0o755)],
      ['LICENSE', file(own('LICENSE'))],
      ...inDist.map((path) => [path.slice(working.length + 1), file(readFileSync(path))] as const),
      ...fallback(names).map(([name, target]) => [`dist/flatnet-fallback.d/${name}`, link(target)] as const),
    ]);
    return new Map<string, Entry>([
      ...[...tree].map(([path, entry]) => [`opt/flatnet/${path}`, entry] as const),
      ['usr/bin/flatnet', link('/opt/flatnet/bin/flatnet')],
    ]);
  } finally {
    rmSync(working, { recursive: true, force: true });
  }
}

/** What the CNI plugin's fallback needs on a host, as links: the agent installs copies. */
function fallback({
  triplet,
  loader,
}: {
  readonly triplet: string;
  readonly loader: string;
}): [string, string][] {
  return [
    ['node', '../node'],
    ['flatnet-cni.mjs', '../flatnet-cni.mjs'],
    ['ld.so', `/usr/lib/${triplet}/${loader}`],
    ...LIBRARIES_OF_NODE.map((name): [string, string] => [name, `/usr/lib/${triplet}/${name}`]),
  ];
}

/** Links statically: these programs run on hosts of any kind. `source`: a file, or a pattern for several. */
function compile(
  source: string,
  architecture: Architecture,
  working: string,
  optimization: '-Os' | '-O3' = '-Os',
): Buffer {
  const { node, triplet } = NAMES[architecture];
  const compilers = process.arch === node ? ['musl-gcc', 'cc', 'gcc'] : [`${triplet}-gcc`];
  const to = join(working, 'compiled');
  const flags =
    '-std=c11 -Wall -Wextra -Werror -fstack-protector-strong -static -s -Wl,-z,relro,-z,now,-z,noexecstack,--build-id=none';
  let failure: unknown;
  for (const compiler of compilers) {
    try {
      execFileSync(
        compiler,
        [...flags.split(' '), optimization, ...globSync(join(ROOT, source)).sort(), '-o', to],
        {
          stdio: 'pipe',
        },
      );
      const program = readFileSync(to);
      rmSync(to);
      return program;
    } catch (error) {
      failure = error;
    }
  }
  throw new Error(
    `cannot compile ${source}: install musl-tools, or gcc and libc6-dev of crossbuild-essential-${architecture}`,
    {
      cause: failure,
    },
  );
}

/**
 * Stores what V8 compiles of the bundle when an agent starts, beside it: the image is read-only, and half of the time to a served
 * socket would otherwise be spent compiling. The settings are the launcher's, or V8 would not accept it; the seed makes it come out
 * the same every time.
 */
function fillCompileCache(root: string, node: Buffer): void {
  const dist = join(root, 'dist');
  const program = join(root, 'node');
  writeFileSync(program, node, { mode: 0o755 });
  symlinkSync(program, join(dist, 'node'));
  const flags = ['--max-semi-space-size=2', '--heap-growing-percent=40', '--random-seed=1'];
  const argv = [...flags, join(dist, 'flatnet.mjs'), 'agent', '--config', '/dev/null/none'];
  try {
    execFileSync(program, argv, {
      stdio: 'pipe',
      env: { NODE_COMPILE_CACHE: join(dist, 'cache'), NODE_COMPILE_CACHE_PORTABLE: '1' },
    });
  } catch {
    // It has no configuration; by then everything is loaded.
  }
  rmSync(join(dist, 'node'));
  if (readdirSync(join(dist, 'cache'), { recursive: true }).length < 2)
    throw new Error('Node has cached nothing');
}
