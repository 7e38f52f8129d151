import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Resources, SecretRef } from '../../cluster/resources.ts';
import { messageOf } from '../../error.ts';
import { secretKey } from './configuration/facts.ts';

export type Secrets = {
  /** By `secretKey`. */
  readonly secrets: ReadonlyMap<string, string>;
  readonly warnings: readonly string[];
};

/** Bytes; longer than any password that TCP MD5 takes. */
const MAX_SIZE = 4096;
const SAFE = /^[A-Za-z0-9_-][A-Za-z0-9._-]*$/;

/**
 * Reads the passwords that BGP peers and the mesh refer to: files `<folder>/<secret>/<key>`, as Kubernetes
 * mounts a Secret, readable by root only. A missing one is reported in `warnings` and its sessions are left
 * out: a session meant to have a password never runs without one.
 */
export function readSecrets(folder: string, resources: Resources): Secrets {
  const secrets = new Map<string, string>();
  const warnings = new Set<string>();
  for (const ref of secretRefs(resources)) {
    try {
      secrets.set(secretKey(ref), readSecret(folder, ref));
    } catch (error) {
      warnings.add(`secret ${secretKey(ref)}: ${messageOf(error)}`);
    }
  }
  return { secrets, warnings: [...warnings] };
}

function secretRefs({ bgpConfiguration, bgpPeers }: Resources): SecretRef[] {
  return [bgpConfiguration.nodeMeshPassword, ...bgpPeers.map((peer) => peer.password)].filter(
    (ref) => ref !== undefined,
  );
}

function readSecret(folder: string, { name, key }: SecretRef): string {
  if (!SAFE.test(name) || !SAFE.test(key)) throw new Error('is not a valid file name');
  const path = join(folder, name, key);
  const status = statSync(path);
  // Reading a pipe would hang the agent.
  if (!status.isFile()) throw new Error(`${path} is not a file`);
  if (status.size > MAX_SIZE) throw new Error(`${path} has ${status.size} bytes, too many for a password`);
  const mode = status.mode & 0o777;
  if (mode & 0o077)
    throw new Error(`${path} has mode ${mode.toString(8)}: run chmod 600, others can read it`);
  return readFileSync(path, 'utf8').replace(/\r?\n$/, '');
}
