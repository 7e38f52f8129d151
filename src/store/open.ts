import { readFileSync } from 'node:fs';
import { codeOf, FlatnetError, messageOf } from '../error.ts';
import type { Log } from '../log.ts';
import { type LeaseOptions, LeaseStore } from './etcd/lease-store.ts';
import { EtcdKv } from './kv/client.ts';
import type { Tls } from './kv/endpoint.ts';
import type { Store } from './ports/store.ts';

export type StoreOptions = LeaseOptions & {
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

/** The store behind the endpoints. Nothing is sent until it is used. Throws CONFIG_INVALID; IO for an unreadable file. */
export function openStore(options: StoreOptions, log: Log): Store {
  return new LeaseStore(openKv(options), options, log);
}

/** The client alone, for tools. */
export function openKv({ endpoints, tls = {}, username, password }: StoreOptions): EtcdKv {
  const pem: { -readonly [K in keyof Tls]: string } = {};
  if (tls.caFile !== undefined) pem.ca = read('store.tls.caFile', tls.caFile);
  if (tls.certFile !== undefined) pem.cert = read('store.tls.certFile', tls.certFile);
  if (tls.keyFile !== undefined) pem.key = read('store.tls.keyFile', tls.keyFile);
  return new EtcdKv({
    endpoints,
    tls: pem,
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
  });
}

function read(option: string, file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    const errno = codeOf(cause);
    throw new FlatnetError(messageOf(cause), { code: 'IO', object: option, ...(errno && { errno }), cause });
  }
}
