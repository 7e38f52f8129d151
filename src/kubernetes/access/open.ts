import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { codeOf, ioError } from '../../error.ts';
import type { Access } from './access.ts';
import { inClusterAccess, SERVICE_ACCOUNT } from './in-cluster.ts';

export type AccessOptions = {
  /** Path of a kubeconfig. Absent: as kubectl, `KUBECONFIG`, then `~/.kube/config`, then a pod's account. */
  readonly kubeconfig?: string | undefined;
  /** A context of the kubeconfig; its current one by default. */
  readonly context?: string | undefined;
  readonly env?: NodeJS.ProcessEnv;
  /** The folder of a pod's service account. */
  readonly folder?: string;
};

type File = { readonly path: string; readonly text: string };

/** Finds out where the API server is and who we are. Throws CONFIG_INVALID, NOT_FOUND or IO. */
export async function openAccess(options: AccessOptions = {}): Promise<Access> {
  const { kubeconfig, context, env = process.env, folder = SERVICE_ACCOUNT } = options;
  if (kubeconfig !== undefined) return accessBy(await readFiles([kubeconfig]), context);
  const named = (env.KUBECONFIG ?? '').split(delimiter).filter(Boolean);
  const paths = named.length > 0 ? named : [join(env.HOME ?? homedir(), '.kube', 'config')];
  const isPod = Boolean(env.KUBERNETES_SERVICE_HOST) && existsSync(join(folder, 'token'));
  const files = await readFiles(paths, isPod);
  if (isPod && context === undefined && !(await selectsCluster(files)))
    return inClusterAccess({ env, folder });
  return accessBy(files, context);
}

/** Reads the files. As kubectl: of several, some may be missing; all, if there is another way. */
async function readFiles(paths: readonly string[], mayBeMissing = false): Promise<File[]> {
  const files: File[] = [];
  for (const path of paths) {
    try {
      files.push({ path, text: await readFile(path, 'utf8') });
    } catch (error) {
      const isFine = codeOf(error) === 'ENOENT' && (mayBeMissing || paths.length > 1);
      if (!isFine) throw ioError('read', path, error);
    }
  }
  return files;
}

async function selectsCluster(files: readonly File[]): Promise<boolean> {
  if (files.length === 0) return false;
  const { currentContext } = await import('./kubeconfig.ts');
  return currentContext(files) !== undefined;
}

async function accessBy(files: readonly File[], context: string | undefined): Promise<Access> {
  // A pod needs neither of these, nor the YAML reader.
  const [{ readKubeconfig }, { kubeconfigAccess }] = await Promise.all([
    import('./kubeconfig.ts'),
    import('./kubeconfig-access.ts'),
  ]);
  return kubeconfigAccess(readKubeconfig(files, context));
}
