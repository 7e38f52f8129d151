// OCI images as archives, after the image specification 1.0 (image-layout.md, config.md, manifest.md).
import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { file, type Tree, tar } from './tar.ts';

/** As OCI, Debian and Kubernetes call them. */
export type Architecture = 'amd64' | 'arm64';

export type Layer = {
  /** What it is, for the image's history. */
  readonly about: string;
  /** Digest of the archive before compression. */
  readonly diffId: string;
  /** Bytes before compression. */
  readonly size: number;
  readonly blob: Buffer;
};

export type Image = {
  readonly architecture: Architecture;
  /** What its containers run, with the keys of config.md: `{ Entrypoint: […] }`. */
  readonly config: object;
  readonly layers: readonly Layer[];
};

/** Seconds since 1970, of everything in an image: builds of the same sources are the same. */
const TIME = Number(process.env.SOURCE_DATE_EPOCH ?? 0);

export function layer(about: string, tree: Tree): Layer {
  const archive = tar(tree, TIME);
  // Node's gzip writes no time and no name.
  return { about, diffId: digest(archive), size: archive.length, blob: gzipSync(archive, { level: 6 }) };
}

/**
 * Returns an archive for `ctr images import` and others with images that differ in architecture only, under each of the names.
 */
export function archive(names: readonly string[], images: readonly Image[]): Buffer {
  const blobs: Tree = new Map();
  const add = (mediaType: string, content: Buffer): Descriptor => {
    const id = digest(content);
    blobs.set(`blobs/sha256/${id.slice('sha256:'.length)}`, file(content));
    return { mediaType, digest: id, size: content.length };
  };
  const addJson = (mediaType: string, value: object): Descriptor =>
    add(mediaType, Buffer.from(JSON.stringify(value)));
  const manifests = images.map(({ layers, ...image }) => {
    const mediaType = 'application/vnd.oci.image.manifest.v1+json';
    const manifest = {
      schemaVersion: 2,
      mediaType,
      config: addJson('application/vnd.oci.image.config.v1+json', configOf({ layers, ...image })),
      layers: layers.map(({ blob }) => add('application/vnd.oci.image.layer.v1.tar+gzip', blob)),
    };
    return { ...addJson(mediaType, manifest), platform: { architecture: image.architecture, os: 'linux' } };
  });
  const INDEX = 'application/vnd.oci.image.index.v1+json';
  const index = { schemaVersion: 2, mediaType: INDEX };
  const [only, second] = manifests;
  const image = second ? addJson(INDEX, { ...index, manifests }) : only;
  const named = names.map((name) => ({
    ...image,
    annotations: {
      'io.containerd.image.name': name,
      'org.opencontainers.image.ref.name': name.slice(name.lastIndexOf(':') + 1),
    },
  }));
  blobs.set('oci-layout', file(JSON.stringify({ imageLayoutVersion: '1.0.0' })));
  blobs.set('index.json', file(JSON.stringify({ ...index, manifests: named })));
  return tar(blobs, TIME);
}

type Descriptor = { readonly mediaType: string; readonly digest: string; readonly size: number };

function configOf({ architecture, config, layers }: Image): object {
  const created = new Date(TIME * 1000).toISOString();
  return {
    created,
    architecture,
    os: 'linux',
    config,
    rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
    history: layers.map(({ about }) => ({ created, created_by: about })),
  };
}

function digest(content: Buffer): string {
  return `sha256:${createHash('sha256').update(content).digest('hex')}`;
}
