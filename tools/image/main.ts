// Builds the image (scripts/image): see docs/deployment.md.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { LOCK, updateLock } from './debian.ts';
import { type Architecture, archive, type Image, type Layer, layer } from './oci.ts';
import { programTree } from './program.ts';
import { debianTree, NAMES, nodeTree } from './system.ts';
import type { Tree } from './tar.ts';

const ROOT = join(import.meta.dirname, '../..');
const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  readonly version: string;
};

const { values } = parseArgs({
  options: {
    arch: { type: 'string', default: process.arch === 'x64' ? 'amd64' : process.arch },
    output: { type: 'string', default: join(ROOT, 'dist/image') },
    name: { type: 'string', default: `flatnet.dev/flatnet:${version}` },
    fresh: { type: 'boolean', default: false },
    lock: { type: 'string', default: LOCK },
    'update-lock': { type: 'boolean', default: false },
  },
});
const CONFIG = {
  Entrypoint: ['/opt/flatnet/bin/flatnet'],
  Cmd: ['--help'],
  Env: ['PATH=/usr/sbin:/usr/bin'],
  WorkingDir: '/',
  Labels: {
    'org.opencontainers.image.title': 'flatnet',
    'org.opencontainers.image.licenses': 'Apache-2.0',
  },
};
const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'flatnet/image');
const architectures = values.arch.split(',').map((name): Architecture => {
  if (name in NAMES) return name as Architecture;
  throw new Error(`--arch: '${name}' is neither amd64 nor arm64`);
});

if (values['update-lock']) for (const each of architectures) updateLock(values.lock, each, cache);
mkdirSync(values.output, { recursive: true });
const images: Image[] = [];
for (const architecture of architectures) {
  const image = await build(architecture);
  images.push(image);
  write(`flatnet-${architecture}.tar`, [image]);
}
if (images.length > 1) write('flatnet.tar', images);

async function build(architecture: Architecture): Promise<Image> {
  const node = nodeTree(architecture, cache);
  const program = node.get('opt/flatnet/dist/node');
  if (program?.type !== 'file') throw new Error('no Node');
  return {
    architecture,
    config: CONFIG,
    layers: [
      layer('Debian: BIRD, nft, libraries, certificates', debianTree(architecture, values.lock, cache)),
      nodeLayer(node, program.content),
      layer('flatnet', await programTree(architecture, cache, program.content)),
    ],
  };
}

/** Compressing Node takes six seconds of processor time, so it is kept. */
function nodeLayer(tree: Tree, node: Buffer): Layer {
  const about = 'Node.js';
  const key = createHash('sha256')
    .update(node)
    .update(process.version)
    .update(process.env.SOURCE_DATE_EPOCH ?? '');
  const path = join(cache, `node-${key.digest('hex').slice(0, 24)}`);
  if (!values.fresh && existsSync(path)) {
    const { diffId, size } = JSON.parse(readFileSync(`${path}.json`, 'utf8')) as Pick<
      Layer,
      'diffId' | 'size'
    >;
    return { about, diffId, size, blob: readFileSync(path) };
  }
  const made = layer(about, tree);
  mkdirSync(cache, { recursive: true });
  writeFileSync(`${path}.json`, JSON.stringify({ diffId: made.diffId, size: made.size }));
  writeFileSync(path, made.blob);
  return made;
}

function write(name: string, images: readonly Image[]): void {
  const path = join(values.output, name);
  const content = archive([values.name], images);
  writeFileSync(path, content);
  const size = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
  const unpacked = images.flatMap(({ layers }) => layers).reduce((sum, { size }) => sum + size, 0);
  const digest = createHash('sha256').update(content).digest('hex');
  console.log(`image: ${path}: ${size(content.length)}, unpacked ${size(unpacked)}, sha256 ${digest}`);
}
