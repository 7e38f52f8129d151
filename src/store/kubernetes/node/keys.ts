import { FlatnetError } from '../../../error.ts';
import type { Family } from '../../../ip/address.ts';

/** flannel's `--kube-annotation-prefix`. */
export const DEFAULT_ANNOTATION_PREFIX = 'flannel.alpha.coreos.com';

/** The annotation for what flannel has none for: our record of the node. */
export const RECORD = 'flatnet.dev/node';

/** The names of flannel's annotations of a Node. */
export type AnnotationKeys = {
  /** `"true"`: a node without it is none of the network. */
  readonly manager: string;
  readonly backendType: string;
  readonly backendData: Readonly<Record<Family, string>>;
  readonly publicIp: Readonly<Record<Family, string>>;
  /** Set by people: goes into `publicIp` instead of the node's own address. */
  readonly overwrite: Readonly<Record<Family, string>>;
};

/** What flannel accepts once it has completed the prefix. */
const PREFIX = /^(?:[a-z0-9_-]+\.)+[a-z0-9_-]+\/(?:[a-z0-9_-]+-)?$/;

/**
 * The names with a prefix, completed as flannel does: `example.com` to `example.com/`, `example.com/net` to
 * `example.com/net-`. Throws CONFIG_INVALID.
 */
export function annotationKeys(prefix: string = DEFAULT_ANNOTATION_PREFIX): AnnotationKeys {
  const start = completed(prefix);
  if (!PREFIX.test(start)) {
    throw new FlatnetError(`'${prefix}' cannot begin the names of annotations`, {
      code: 'CONFIG_INVALID',
      object: 'annotationPrefix',
      fix: 'use a DNS name with a dot, such as flannel.alpha.coreos.com, or one followed by / and a word',
    });
  }
  return {
    manager: `${start}kube-subnet-manager`,
    backendType: `${start}backend-type`,
    backendData: { 4: `${start}backend-data`, 6: `${start}backend-v6-data` },
    publicIp: { 4: `${start}public-ip`, 6: `${start}public-ipv6` },
    overwrite: { 4: `${start}public-ip-overwrite`, 6: `${start}public-ipv6-overwrite` },
  };
}

/** The annotations that an agent writes; it reads the overwrites too. */
export function writtenKeys(keys: AnnotationKeys): readonly string[] {
  const { manager, backendType, backendData, publicIp } = keys;
  return [manager, backendType, ...Object.values(backendData), ...Object.values(publicIp), RECORD];
}

function completed(prefix: string): string {
  if (!prefix.includes('/')) return `${prefix}/`;
  return prefix.endsWith('/') || prefix.endsWith('-') ? prefix : `${prefix}-`;
}
