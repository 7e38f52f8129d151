import { existsSync } from 'node:fs';
import { join } from 'node:path';

export type Component =
  | 'kube-apiserver'
  | 'kube-controller-manager'
  | 'kube-proxy'
  | 'kube-scheduler'
  | 'kubectl'
  | 'kubelet';

const FOLDER = process.env.FLATNET_KUBERNETES;

/** The path of a component that scripts/kubernetes has built. */
export function component(name: Component): string {
  if (FOLDER === undefined) throw new Error('FLATNET_KUBERNETES is not set: see scripts/kubernetes');
  return join(FOLDER, name);
}

/** Why tests that need an API server are skipped; false when they run. In CI they must run. */
export const NO_KUBERNETES =
  FOLDER === undefined && !process.env.CI ? 'needs Kubernetes: scripts/test builds it with Go' : false;

/** The same for kubelets. */
export const NO_KUBELETS = NO_KUBERNETES || (!process.env.CI && missing());

function missing(): string | false {
  if (!existsSync('/sys/fs/cgroup/cpuset')) return 'needs the controllers of cgroup v1';
  if (process.getuid?.() !== 0) return 'needs root';
  const needed = ['/usr/bin/containerd', '/bin/busybox'];
  return !needed.every((path) => existsSync(path)) && 'needs containerd and busybox';
}
