import fs from 'node:fs';
import { codeOf, FlatnetError, messageOf } from '../error.ts';
import * as sys from './sys.ts';

const NETNS_DIR = '/run/netns';
const OWN = '/proc/thread-self/ns/net';
const NSFS_MAGIC = 0x6e736673;
const NS_GET_NSTYPE = 0xb703;

/** A synchronous result: `never` for a promise, so that passing an async callback is a type error. */
export type Sync<T> = T extends PromiseLike<unknown> ? never : T;

/** The path that `ip netns add NAME` would create. */
export function netnsPath(name: string): string {
  return `${NETNS_DIR}/${name}`;
}

/**
 * Opens the namespace at a path: `/run/netns/NAME`, `/proc/PID/ns/net`, or one provided by a container
 * runtime. The caller closes the descriptor, which keeps the namespace alive until then. Throws IO for
 * anything else, without waiting for it (a FIFO has no writer) or waking it (a device).
 */
export function openNetns(path: string): number {
  let fd: number | undefined;
  try {
    if (!fs.statSync(path).isFile()) throw notNetns(path);
    fd = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
    if (!isNetns(fd)) throw notNetns(path);
    return fd;
  } catch (cause) {
    if (fd !== undefined) fs.closeSync(fd);
    if (cause instanceof FlatnetError) throw cause;
    const missing = codeOf(cause) === 'ENOENT';
    throw new FlatnetError(missing ? 'no such network namespace' : messageOf(cause), {
      code: missing ? 'NOT_FOUND' : 'IO',
      operation: 'netns open',
      object: path,
      cause,
    });
  }
}

/** Only a file of nsfs understands the request: to a device it might mean anything (ioctl_nsfs(2)). */
function isNetns(fd: number): boolean {
  if (fs.statfsSync(`/proc/self/fd/${fd}`).type !== NSFS_MAGIC) return false;
  return sys.ioctl(fd, NS_GET_NSTYPE, new Uint8Array()) === sys.CLONE_NEWNET;
}

function notNetns(path: string): FlatnetError {
  return new FlatnetError('not a network namespace', { code: 'IO', operation: 'netns open', object: path });
}

/**
 * Returns a namespace's inode number, the same for every path and process that refers to it. Default: our
 * own.
 */
export function netnsId(netns: string | number = OWN): number {
  return typeof netns === 'number' ? fs.fstatSync(netns).ino : fs.statSync(netns).ino;
}

/**
 * Runs `run` with the calling thread in another network namespace and returns its result. Sockets opened and
 * programs started inside stay in that namespace and may be used afterwards; /proc/sys/net is that
 * namespace's. `run` must not be async: anything after its first `await` would run in an arbitrary namespace.
 */
export function withNetns<T>(netns: string | number, run: () => Sync<T>): T {
  primeThreadPool();
  const target = typeof netns === 'number' ? netns : openNetns(netns);
  const isNested = isAway;
  const own = isNested ? fs.openSync(OWN, 'r') : homeNetns();
  try {
    sys.setns(target, sys.CLONE_NEWNET);
    isAway = true;
    return insideNetns(own, run);
  } finally {
    isAway = isNested;
    if (isNested) fs.closeSync(own);
    if (typeof netns === 'string') fs.closeSync(target);
  }
}

/** This thread's own namespace, held open. */
function homeNetns(): number {
  home ??= fs.openSync(OWN, 'r');
  return home;
}
let home: number | undefined;
/** Whether the thread is in another namespace. */
let isAway = false;

/**
 * Creates a named namespace, like `ip netns add NAME`: a bind mount below /run/netns, visible in every mount
 * namespace.
 */
export function createNetns(name: string): string {
  const path = netnsPath(name);
  shareNetnsDirectory();
  try {
    fs.closeSync(fs.openSync(path, 'wx', 0));
  } catch (cause) {
    const taken = codeOf(cause) === 'EEXIST';
    throw new FlatnetError(taken ? 'the network namespace already exists' : messageOf(cause), {
      code: taken ? 'NAME_TAKEN' : 'IO',
      operation: 'netns add',
      object: name,
      cause,
    });
  }
  primeThreadPool();
  const own = fs.openSync(OWN, 'r');
  try {
    sys.unshare(sys.CLONE_NEWNET);
    insideNetns(own, () => sys.mount(OWN, path, 'none', sys.MS_BIND));
  } catch (error) {
    fs.rmSync(path, { force: true });
    throw error;
  } finally {
    fs.closeSync(own);
  }
  return path;
}

/**
 * Creates an unnamed namespace and returns a descriptor, which the caller closes. It lives as long as any
 * descriptor of it or socket in it.
 */
export function anonymousNetns(): number {
  primeThreadPool();
  const own = fs.openSync(OWN, 'r');
  try {
    sys.unshare(sys.CLONE_NEWNET);
    return insideNetns(own, () => fs.openSync(OWN, 'r'));
  } finally {
    fs.closeSync(own);
  }
}

/**
 * Like `ip netns delete NAME`; does nothing if it does not exist. The namespace itself lives on until its
 * last process and descriptor are gone.
 */
export function deleteNetns(name: string): void {
  const path = netnsPath(name);
  for (;;) {
    try {
      sys.umount2(path, sys.MNT_DETACH);
    } catch (error) {
      // EINVAL: nothing is mounted on it, as after an interrupted creation. ENOENT: no such file.
      const errno = error instanceof FlatnetError ? error.errno : undefined;
      if (errno !== 'EINVAL' && errno !== 'ENOENT') throw error;
      break;
    }
  }
  fs.rmSync(path, { force: true });
}

/** Returns the names, sorted, like `ip netns list`. */
export function listNetns(): string[] {
  try {
    return fs.readdirSync(NETNS_DIR).sort();
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return [];
    throw error;
  }
}

/** Runs `run` with the thread already in the other namespace, then always returns the thread to `own`. */
function insideNetns<T>(own: number, run: () => Sync<T>): T {
  try {
    const result = run();
    if (isPromise(result)) {
      throw new FlatnetError('the function run inside a network namespace returned a promise', {
        code: 'INTERNAL',
        operation: 'withNetns',
      });
    }
    return result;
  } finally {
    returnTo(own);
  }
}

/**
 * Aborts the process on failure: a thread left in a foreign namespace would silently configure the wrong
 * network.
 */
function returnTo(own: number): void {
  try {
    sys.setns(own, sys.CLONE_NEWNET);
  } catch (error) {
    fs.writeSync(2, `flatnet: cannot return to the original network namespace: ${messageOf(error)}\n`);
    process.abort();
  }
}

/**
 * Threads of libuv's pool inherit the namespace of the thread that starts them, and all start at first use.
 * This makes sure that the first use is not inside `run`.
 */
function primeThreadPool(): void {
  if (primed) return;
  primed = true;
  fs.stat('/', () => {});
}
let primed = false;

/**
 * Makes /run/netns a shared mount, as `ip netns add` does, so that new names appear in all mount namespaces.
 */
function shareNetnsDirectory(): void {
  fs.mkdirSync(NETNS_DIR, { recursive: true, mode: 0o755 });
  try {
    sys.mount('', NETNS_DIR, 'none', sys.MS_SHARED | sys.MS_REC);
  } catch (error) {
    if (!(error instanceof FlatnetError) || error.errno !== 'EINVAL') throw error;
    sys.mount(NETNS_DIR, NETNS_DIR, 'none', sys.MS_BIND | sys.MS_REC);
    sys.mount('', NETNS_DIR, 'none', sys.MS_SHARED | sys.MS_REC);
  }
}

function isPromise(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function';
}
