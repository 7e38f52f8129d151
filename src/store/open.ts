import { readFileSync } from 'node:fs';
import { codeOf, FlatnetError, messageOf } from '../error.ts';
import type { Log } from '../log.ts';
import { EtcdStore, type EtcdStoreOptions } from './etcd/store.ts';
import { EtcdKv } from './kv/client.ts';
import type { Tls } from './kv/endpoint.ts';
import type { CheckNetwork } from './ports/network.ts';
import type { Store } from './ports/store.ts';

export { DEFAULT_PREFIX } from './etcd/layout.ts';
export { LEASE_TTL } from './etcd/store.ts';

/** Store location and credentials. */
export type StoreOptions = EtcdStoreOptions & {
  /** `http://host:port`, `https://host:port` or `unix:/path`. */
  readonly endpoints: readonly string[];
  /** PEM files: flannel's `--etcd-cafile`, `--etcd-certfile`, `--etcd-keyfile`. */
  readonly tls?: TlsFiles | undefined;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
};

export type TlsFiles = {
  readonly caFile?: string | undefined;
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
};

/**
 * Returns a client for the store at the endpoints. Sends nothing until first used. `check`: by default, any
 * readable network is good. Throws CONFIG_INVALID; IO for an unreadable file.
 */
export function openStore(options: StoreOptions, log: Log, check?: CheckNetwork): Store {
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
