import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SILENT } from '../../src/log.ts';
import { serveEmbedded } from '../../src/store/embedded/serve.ts';

/** A store server for tests. */
export type Server = {
  readonly endpoint: string;
  readonly stop: () => Promise<void>;
};

/** A store server in a separate process. */
export type ServerProcess = Server & {
  readonly process: ChildProcess;
  /** The folder it keeps its data in, if a folder. */
  readonly data: string;
  /** Starts it again on the same data and address after a `kill`. */
  readonly restart: () => Promise<void>;
  readonly kill: (signal: NodeJS.Signals) => Promise<void>;
};

export function temporaryFolder(): string {
  return mkdtempSync(join(tmpdir(), `flatnet-store-${process.pid}-`));
}

/** The embedded server in this process. */
export async function startEmbedded(folder = temporaryFolder()): Promise<Server> {
  const server = await serveEmbedded({
    listen: `unix:${join(folder, 'store.sock')}`,
    file: join(folder, 'store.db'),
    log: SILENT,
  });
  const stop = async (): Promise<void> => {
    await server.close();
    rmSync(folder, { recursive: true, force: true });
  };
  return { endpoint: server.endpoint, stop };
}

/** The embedded server in a separate process that can be killed. */
export function startEmbeddedProcess(): Promise<ServerProcess> {
  const folder = temporaryFolder();
  const endpoint = `unix:${join(folder, 'store.sock')}`;
  const main = join(import.meta.dirname, 'embedded-main.ts');
  const argv = [
    process.execPath,
    '--disable-warning=ExperimentalWarning',
    main,
    endpoint,
    join(folder, 'store.db'),
  ];
  return startProcess(argv, endpoint, folder);
}

const ETCD = ['/usr/bin/etcd', '/usr/local/bin/etcd'].find((path) => existsSync(path));

/** Why tests against a real etcd are skipped; false when they run. In CI they must run. */
export const NO_ETCD =
  ETCD === undefined && !process.env.CI ? 'needs etcd: apt-get install etcd-server' : false;

/** A real single-member etcd on loopback. `flags`: `--name=value`, added to the default ones. */
export async function startEtcd(flags: readonly string[] = [], scheme = 'http'): Promise<ServerProcess> {
  if (!ETCD) throw new Error('etcd is not installed: apt-get install etcd-server');
  const folder = temporaryFolder();
  const client = `${scheme}://127.0.0.1:${await freePort()}`;
  const peer = `http://127.0.0.1:${await freePort()}`;
  const argv = [
    ETCD,
    `--data-dir=${join(folder, 'data')}`,
    `--listen-client-urls=${client}`,
    `--advertise-client-urls=${client}`,
    `--listen-peer-urls=${peer}`,
    `--initial-advertise-peer-urls=${peer}`,
    `--initial-cluster=default=${peer}`,
    ...flags,
  ];
  return startProcess(argv, client, folder);
}

async function startProcess(
  argv: readonly string[],
  endpoint: string,
  folder: string,
): Promise<ServerProcess> {
  const [command = '', ...rest] = argv;
  const start = async (): Promise<ChildProcess> => {
    const child = spawn(command, rest, { stdio: ['ignore', 'ignore', 'pipe'] });
    let complaints = '';
    child.stderr?.on('data', (chunk) => (complaints = (complaints + chunk).slice(-2000)));
    try {
      await listening(endpoint, child);
    } catch (error) {
      child.kill('SIGKILL');
      throw new Error(`${command} failed to start: ${complaints}`, { cause: error });
    }
    return child;
  };
  let child = await start();
  const kill = async (signal: NodeJS.Signals): Promise<void> => {
    const exited = child.exitCode !== null || child.signalCode !== null ? undefined : once(child, 'exit');
    child.kill(signal);
    await exited;
  };
  return {
    endpoint,
    data: join(folder, 'data'),
    get process() {
      return child;
    },
    kill,
    restart: async () => {
      child = await start();
    },
    stop: async () => {
      await kill('SIGKILL');
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function listening(endpoint: string, child: ChildProcess): Promise<void> {
  for (const deadline = Date.now() + 60_000; Date.now() < deadline; ) {
    if (child.exitCode !== null) break;
    const url = endpoint.startsWith('unix:') ? undefined : new URL(endpoint);
    const socket = url ? net.connect(Number(url.port), url.hostname) : net.connect(endpoint.slice(5));
    try {
      await once(socket, 'connect');
      // etcd accepts connections shortly before it has elected itself leader.
      if (url?.protocol !== 'http:' || (await fetch(new URL('/health', url))).ok) return;
    } catch {
      // Not yet.
    } finally {
      socket.destroy();
    }
    await sleep(30);
  }
  throw new Error(`nothing listens on ${endpoint}`);
}

export async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (typeof address === 'object' && address) return address.port;
  throw new Error('no free port');
}

type Eventual<T> = T | false | undefined;

/** Waits until `check` returns something other than false or undefined: long, as other tests run beside. */
export async function eventually<T>(
  check: () => Eventual<T> | Promise<Eventual<T>>,
  timeout = 30_000,
): Promise<T> {
  for (const deadline = Date.now() + timeout; ; await sleep(15)) {
    const value = await check();
    if (value !== false && value !== undefined) return value;
    if (Date.now() > deadline) throw new Error(`timed out after ${timeout} ms: ${check}`);
  }
}
