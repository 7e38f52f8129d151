import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { codeOf, ioError } from '../../error.ts';
import type { Access } from './access.ts';
import { inClusterAccess } from './in-cluster.ts';

export type AccessOptions = {
  /** Path of a kubeconfig. Absent: `KUBECONFIG`, then a pod's service account, then `~/.kube/config`. */
  readonly kubeconfig?: string | undefined;
  /** A context of the kubeconfig; its current one by default. */
  readonly context?: string | undefined;
  readonly env?: NodeJS.ProcessEnv;
};

/** Finds out where the API server is and who we are. Throws CONFIG_INVALID, NOT_FOUND or IO. */
export async function openAccess(options: AccessOptions = {}): Promise<Access> {
  const { kubeconfig, context, env = process.env } = options;
  if (kubeconfig !== undefined) return fromFiles([kubeconfig], context);
  if (env.KUBECONFIG) return fromFiles(env.KUBECONFIG.split(delimiter).filter(Boolean), context);
  if (env.KUBERNETES_SERVICE_HOST && context === undefined) return inClusterAccess({ env });
  return fromFiles([join(env.HOME ?? homedir(), '.kube', 'config')], context);
}

async function fromFiles(paths: readonly string[], context: string | undefined): Promise<Access> {
  const files: { path: string; text: string }[] = [];
  for (const path of paths) {
    try {
      files.push({ path, text: await readFile(path, 'utf8') });
    } catch (error) {
      // As kubectl: of several files, some may be missing.
      if (codeOf(error) !== 'ENOENT' || paths.length === 1) throw ioError('read', path, error);
    }
  }
  // A pod needs neither of these, nor the YAML reader.
  const [{ readKubeconfig }, { kubeconfigAccess }] = await Promise.all([
    import('./kubeconfig.ts'),
    import('./kubeconfig-access.ts'),
  ]);
  return kubeconfigAccess(readKubeconfig(files, context));
}
