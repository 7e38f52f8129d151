import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const LAYOUT = 'application/vnd.oci.image';

/** The names of the image: what a sandbox runs, and what the tests' pods do. */
export const PAUSE = 'registry.k8s.io/pause:3.10';
export const BUSYBOX = 'docker.io/library/busybox:1';

/** Makes an image of busybox alone, as an archive that `ctr images import` reads. Returns its path. */
export function busyboxArchive(folder: string): string {
  const [root, blobs] = [join(folder, 'root'), join(folder, 'image', 'blobs', 'sha256')];
  for (const path of [join(root, 'bin'), join(root, 'tmp'), blobs]) mkdirSync(path, { recursive: true });
  copyFileSync('/bin/busybox', join(root, 'bin', 'busybox'));
  const commands = execFileSync('/bin/busybox', ['--list'], { encoding: 'utf8' }).split('\n').filter(Boolean);
  for (const name of commands) if (name !== 'busybox') symlinkSync('busybox', join(root, 'bin', name));
  const layer = join(folder, 'layer.tar');
  execFileSync('tar', ['-C', root, '-cf', layer, '.']);

  const blob = (kind: string, content: Buffer) => {
    const digest = createHash('sha256').update(content).digest('hex');
    writeFileSync(join(blobs, digest), content);
    return { mediaType: `${LAYOUT}.${kind}`, digest: `sha256:${digest}`, size: content.length };
  };
  const json = (kind: string, value: object) => blob(`${kind}+json`, Buffer.from(JSON.stringify(value)));
  const files = blob('layer.v1.tar', readFileSync(layer));
  const platform = { architecture: process.arch === 'arm64' ? 'arm64' : 'amd64', os: 'linux' };
  const config = json('config.v1', {
    ...platform,
    // What a sandbox does; pods have a command of their own.
    config: { Cmd: ['sleep', '1000000000'], Env: ['PATH=/bin'] },
    rootfs: { type: 'layers', diff_ids: [files.digest] },
  });
  const manifest = json('manifest.v1', { schemaVersion: 2, config, layers: [files] });
  const named = (name: string) => ({
    ...manifest,
    platform,
    annotations: { 'io.containerd.image.name': name },
  });
  const image = join(folder, 'image');
  writeFileSync(join(image, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  const index = { schemaVersion: 2, manifests: [named(PAUSE), named(BUSYBOX)] };
  writeFileSync(join(image, 'index.json'), JSON.stringify(index));
  const archive = join(folder, 'busybox.tar');
  execFileSync('tar', ['-C', image, '-cf', archive, '.']);
  return archive;
}
