import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

/** Never pulled from a registry: it is built from this machine's busybox. */
export const IMAGE = 'flatnet.test/busybox:1';

const APPLETS = ['sh', 'sleep', 'httpd', 'wget', 'ping', 'ip', 'hostname', 'echo', 'cat'];

/** A CGI script that returns the client's source address. */
const WHO = '#!/bin/sh\nprintf "Content-Type: text/plain\\r\\n\\r\\n%s" "$REMOTE_ADDR"\n';

type Entry = {
  readonly path: string;
  readonly mode: number;
  readonly type: string;
  readonly body?: Buffer;
  readonly link?: string;
};

/**
 * Returns an OCI image layout (image-spec, image-layout.md) as a tar file for `ctr images import`: the static
 * busybox, linked under the names of some of its applets. Its entrypoint is sleep, so it is a pause image
 * too.
 */
export function busyboxImage(): Buffer {
  const layer = tar([
    ...['bin', 'etc', 'tmp', 'www', 'www/cgi-bin'].map((path) => directory(path)),
    file('bin/busybox', readFileSync(execFileSync('which', ['busybox'], { encoding: 'utf8' }).trim()), 0o755),
    ...APPLETS.map((name) => ({ path: `bin/${name}`, mode: 0o777, type: '2', link: 'busybox' })),
    file('www/cgi-bin/who', Buffer.from(WHO), 0o755),
  ]);
  const blobs: Entry[] = [directory('blobs'), directory('blobs/sha256')];
  const add = (mediaType: string, content: Buffer): Record<string, unknown> => {
    const hash = createHash('sha256').update(content).digest('hex');
    blobs.push(file(`blobs/sha256/${hash}`, content));
    return { mediaType, digest: `sha256:${hash}`, size: content.length };
  };
  const json = (value: object): Buffer => Buffer.from(JSON.stringify(value));
  const layerBlob = add('application/vnd.oci.image.layer.v1.tar', layer);
  const config = {
    architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
    os: 'linux',
    config: { Entrypoint: ['/bin/sleep', '1000000'], Env: ['PATH=/bin'] },
    rootfs: { type: 'layers', diff_ids: [layerBlob.digest] },
  };
  const manifest = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: add('application/vnd.oci.image.config.v1+json', json(config)),
    layers: [layerBlob],
  };
  const index = {
    schemaVersion: 2,
    manifests: [
      { ...add(manifest.mediaType, json(manifest)), annotations: { 'io.containerd.image.name': IMAGE } },
    ],
  };
  return tar([
    file('oci-layout', json({ imageLayoutVersion: '1.0.0' })),
    file('index.json', json(index)),
    ...blobs,
  ]);
}

function directory(path: string): Entry {
  return { path, mode: 0o755, type: '5' };
}

function file(path: string, body: Buffer, mode = 0o644): Entry {
  return { path, mode, type: '0', body };
}

/**
 * A POSIX ustar archive: per file a header block, then its content in blocks of 512 bytes; two empty blocks
 * end it.
 */
function tar(entries: readonly Entry[]): Buffer {
  const blocks = entries.flatMap((entry) => {
    const { body = Buffer.alloc(0) } = entry;
    return [header(entry, body.length), body, Buffer.alloc(-body.length & 511)];
  });
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}

function header({ path, mode, type, link = '' }: Entry, size: number): Buffer {
  const block = Buffer.alloc(512);
  const octal = (value: number, digits: number): string => `${value.toString(8).padStart(digits, '0')}\0`;
  block.write(path, 0);
  block.write(octal(mode, 7), 100);
  block.write(octal(0, 7), 108);
  block.write(octal(0, 7), 116);
  block.write(octal(size, 11), 124);
  block.write(octal(0, 11), 136);
  // The checksum is computed with its own field set to spaces.
  block.write(' '.repeat(8), 148);
  block.write(type, 156);
  block.write(link, 157);
  block.write('ustar\x0000', 257);
  block.write(
    octal(
      block.reduce((sum, byte) => sum + byte, 0),
      6,
    ),
    148,
  );
  return block;
}
