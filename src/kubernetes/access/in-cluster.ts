import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FlatnetError, ioError } from '../../error.ts';
import type { Access } from './access.ts';
import { FreshFile } from './fresh-file.ts';

/** Where the kubelet mounts a pod's service account. */
export const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

export type InClusterOptions = {
  /** `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT` are read. */
  readonly env?: NodeJS.ProcessEnv;
  readonly folder?: string;
};

/**
 * Access as a pod's service account. The kubelet replaces the token before it expires, so the file is read
 * again. Throws CONFIG_INVALID outside a pod, IO without a mounted service account.
 */
export async function inClusterAccess(options: InClusterOptions = {}): Promise<Access> {
  const { env = process.env, folder = SERVICE_ACCOUNT } = options;
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port = '443' } = env;
  if (!host) {
    throw new FlatnetError('is not set', {
      code: 'CONFIG_INVALID',
      object: 'KUBERNETES_SERVICE_HOST',
      fix: 'run in a pod, or name a kubeconfig',
    });
  }
  const [token, ca] = [new FreshFile(join(folder, 'token')), new FreshFile(join(folder, 'ca.crt'))];
  return {
    server: `https://${host.includes(':') ? `[${host}]` : host}:${port}`,
    namespace: await readNamespace(join(folder, 'namespace')),
    tls: async () => ({ ca: await ca.text() }),
    headers: async () => ({ authorization: `Bearer ${(await token.text()).trim()}` }),
    forget: () => {
      token.forget();
      ca.forget();
    },
  };
}

async function readNamespace(path: string): Promise<string> {
  try {
    return (await readFile(path, 'utf8')).trim();
  } catch (error) {
    throw ioError('read', path, error);
  }
}
