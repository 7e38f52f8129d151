import { readFileSync } from 'node:fs';
import { codeOf, FlatnetError, messageOf } from '../error.ts';
import type { Log } from '../log.ts';
import { type Server, serverAt } from '../url.ts';
import { EtcdStore, type EtcdStoreOptions, LEASE_TTL } from './etcd/store.ts';
import type { KubernetesStoreOptions } from './kubernetes/store.ts';
import { EtcdKv } from './kv/client.ts';
import type { Tls } from './kv/endpoint.ts';
import type { CheckNetwork } from './ports/network.ts';
import type { Store } from './ports/store.ts';

export { DEFAULT_PREFIX } from './etcd/layout.ts';

/** Store location and credentials. */
export type StoreOptions = EtcdOptions | KubernetesOptions;

export type EtcdOptions = EtcdStoreOptions & {
  /** `http://host:port`, `https://host:port` or `unix:/path`. */
  readonly endpoints: readonly string[];
  /** PEM files: flannel's `--etcd-cafile`, `--etcd-certfile`, `--etcd-keyfile`. */
  readonly tls?: TlsFiles | undefined;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
};

/** The Kubernetes API, as in flannel with `--kube-subnet-mgr`. */
export type KubernetesOptions = {
  readonly kubernetes: KubernetesStoreOptions & {
    /** flannel's `--kubeconfig-file`; absent: `KUBECONFIG`, then the pod's service account. */
    readonly kubeconfig?: string | undefined;
    /** A context of the kubeconfig; its current one by default. */
    readonly context?: string | undefined;
  };
};

export type TlsFiles = {
  readonly caFile?: string | undefined;
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
};

/** `servers`: where it is reached, as URLs. */
export type OpenStore = { readonly store: Store; readonly servers: readonly string[] };

/**
 * Returns a client for the store. Sends nothing until first used. `check`: by default, any readable network
 * is good. Throws CONFIG_INVALID; IO or NOT_FOUND for an unreadable file.
 */
export async function openStore(options: StoreOptions, log: Log, check?: CheckNetwork): Promise<OpenStore> {
  if (!('kubernetes' in options)) return { store: openEtcd(options, log, check), servers: options.endpoints };
  const { kubeconfig, context, ...rest } = options.kubernetes;
  // Sixty modules that an agent on etcd does without.
  const [{ openAccess }, { KubernetesStore }] = await Promise.all([
    import('../kubernetes/access/open.ts'),
    import('./kubernetes/store.ts'),
  ]);
  const access = await openAccess({ kubeconfig, context });
  return { store: new KubernetesStore(access, rest, log, check), servers: [access.server] };
}

/** The TCP servers at URLs, none for a unix socket. */
export function serversAt(urls: readonly string[]): readonly Server[] {
  return urls.filter((url) => !url.startsWith('unix:')).map((url) => serverAt(new URL(url)));
}

/** Where a store is, for people. */
export function storeText(options: StoreOptions): string {
  if (!('kubernetes' in options)) return options.endpoints.join(', ');
  const { kubeconfig } = options.kubernetes;
  return `the Kubernetes API${kubeconfig === undefined ? '' : ` of ${kubeconfig}`}`;
}

/** Seconds after which a node that does not renew its hold is gone for others; Infinity: never. */
export function storeTtl(options: StoreOptions): number {
  return 'kubernetes' in options ? Number.POSITIVE_INFINITY : (options.leaseTtl ?? LEASE_TTL);
}

/** `openStore` for etcd. */
export function openEtcd(options: EtcdOptions, log: Log, check?: CheckNetwork): Store {
  const { endpoints, tls, username, password } = options;
  const kv = new EtcdKv({
    endpoints,
    tls: readTls(tls ?? {}),
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
  });
  return new EtcdStore(kv, options, log, check);
}

function readTls({ caFile, certFile, keyFile }: TlsFiles): Tls {
  return {
    ...(caFile !== undefined && { ca: read('store.tls.caFile', caFile) }),
    ...(certFile !== undefined && { cert: read('store.tls.certFile', certFile) }),
    ...(keyFile !== undefined && { key: read('store.tls.keyFile', keyFile) }),
  };
}

function read(option: string, file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    const errno = codeOf(cause);
    throw new FlatnetError(messageOf(cause), { code: 'IO', object: option, ...(errno && { errno }), cause });
  }
}
