import { once } from 'node:events';
import { chmodSync, mkdirSync, rmSync, statSync } from 'node:fs';
import type http from 'node:http';
import net from 'node:net';
import { dirname } from 'node:path';
import { codeOf, FlatnetError, ioError, messageOf } from '../../error.ts';
import type { Log } from '../../log.ts';
import { serverAt } from '../../url.ts';
import { createApi } from './api.ts';
import { openDatabase } from './database.ts';
import { createHttpServer } from './http.ts';
import { LeaseClock } from './lease-clock.ts';
import { Machine } from './machine.ts';
import { WatchHub } from './watch-hub.ts';

export type EmbeddedOptions = {
  /** `unix:/path` (mode 0600) or `http://address:port`; port 0 picks a free one. */
  readonly listen: string;
  /** The SQLite file, created if missing, and so is its folder, but none above that. */
  readonly file: string;
  readonly log: Log;
  /** Closes the server. */
  readonly signal?: AbortSignal;
};

export type EmbeddedServer = {
  /** Value for a client's `endpoints`. */
  readonly endpoint: string;
  /** Resolves when the server has closed. */
  readonly closed: Promise<void>;
  close(): Promise<void>;
};

const HOUSEKEEPING = 1_000;

/**
 * Serves etcd's v3 JSON API from one SQLite file. Throws IO when the file or address is unavailable;
 * CONFIG_INVALID.
 */
export async function serveEmbedded({ listen, file, log, signal }: EmbeddedOptions): Promise<EmbeddedServer> {
  const address = parseListen(listen);
  if (file !== ':memory:') makeFolder(dirname(file), 0o700);
  const db = openDatabase(file);
  const cluster_id = String(db.prepare("SELECT value FROM meta WHERE name = 'cluster'").get()?.value);
  const header = () => ({ cluster_id, member_id: '1', revision: String(machine.revision), raft_term: '1' });
  const machine = new Machine(db, (revision, changes) => hub.publish(revision, changes));
  const hub = new WatchHub(machine.history, header);
  const logWriteError = (error: unknown): void =>
    log.error({ file, error: messageOf(error) }, 'the store cannot write to its file');
  const clock = new LeaseClock(machine, logWriteError);
  const housekeeping = setInterval(() => {
    try {
      machine.history.trim();
    } catch (error) {
      logWriteError(error);
    }
  }, HOUSEKEEPING);
  const size = (): number => statSync(file, { throwIfNoEntry: false })?.size ?? 0;
  const server = createHttpServer(createApi({ machine, clock, hub, header, size }), log);

  const release = (): void => {
    clearInterval(housekeeping);
    clock.stop();
    hub.close();
    db.close();
  };
  try {
    await listenOn(server, address);
  } catch (error) {
    release();
    throw error;
  }
  const closed = once(server, 'close').then(release);
  const close = (): Promise<void> => {
    if (server.listening) {
      server.close();
      hub.close();
      server.closeAllConnections();
    }
    return closed;
  };
  if (signal?.aborted) await close();
  signal?.addEventListener('abort', close, { once: true });
  const endpoint = endpointOf(server, address);
  log.info({ endpoint, file, revision: machine.revision }, 'store is listening');
  return { endpoint, closed, close };
}

type Address = { readonly path: string } | { readonly host: string; readonly port: number };

function parseListen(listen: string): Address {
  if (listen.startsWith('unix:/')) return { path: listen.slice('unix:'.length).replace(/^\/\/(?=\/)/, '') };
  const url = URL.canParse(listen) ? new URL(listen) : undefined;
  if (url?.protocol === 'http:' && url.hostname && url.pathname === '/') {
    return serverAt(url);
  }
  throw new FlatnetError(`'${listen}' is not an address to listen on`, {
    code: 'CONFIG_INVALID',
    object: 'listen',
    fix: 'write unix:/path or http://127.0.0.1:2379',
  });
}

async function listenOn(server: http.Server, address: Address): Promise<void> {
  if ('path' in address) {
    makeFolder(dirname(address.path));
    await removeStaleSocket(address.path);
  }
  try {
    server.listen(address);
    await once(server, 'listening');
  } catch (error) {
    throw listenError(address, messageOf(error), codeOf(error));
  }
  // Only root may write the cluster's facts. Until now nobody else could either: connecting requires write
  // permission on the socket.
  if ('path' in address) chmodSync(address.path, 0o600);
}

/** A killed server leaves its socket behind; a live one accepts connections. */
async function removeStaleSocket(path: string): Promise<void> {
  const socket = net.connect(path);
  try {
    await once(socket, 'connect');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return;
    if (codeOf(error) !== 'ECONNREFUSED') throw listenError({ path }, messageOf(error), codeOf(error));
    rmSync(path, { force: true });
    return;
  } finally {
    socket.destroy();
  }
  throw listenError({ path }, 'another server is listening there', 'EADDRINUSE');
}

function listenError(address: Address, text: string, errno: string | undefined): FlatnetError {
  return new FlatnetError(text, {
    code: 'IO',
    operation: 'store listen',
    object: 'path' in address ? address.path : `${address.host}:${address.port}`,
    ...(errno === undefined ? {} : { errno }),
  });
}

function endpointOf(server: http.Server, address: Address): string {
  if ('path' in address) return `unix:${address.path}`;
  const bound = server.address();
  const port = typeof bound === 'object' && bound ? bound.port : address.port;
  return `http://${address.host.includes(':') ? `[${address.host}]` : address.host}:${port}`;
}

/** Makes a folder unless it exists, but none above it: a misspelt path should not come into being. */
function makeFolder(path: string, mode = 0o755): void {
  try {
    mkdirSync(path, { mode });
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw ioError('create the folder', path, error);
  }
}
