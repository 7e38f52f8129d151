import fs from 'node:fs';
import { createServer, type Server } from 'node:net';
import { dirname } from 'node:path';
import { codeOf, FlatnetError, ioError, messageOf } from '../error.ts';
import * as sys from './sys.ts';

const { O_CREAT, O_NOFOLLOW, O_RDWR } = fs.constants;
const AF_UNIX = 1;
const SOCK_STREAM = 1;

export type LockOptions = {
  /** In a folder of root's alone, created if missing. */
  readonly path: string;
  /** Name of the abstract socket that earlier versions took as this lock (unix(7)). */
  readonly former: string;
  /** Called if a process of another user has taken that name, which anybody can: it is ignored. */
  readonly onImpostor?: (uid: number | undefined) => void;
};

/**
 * An exclusive lock that the kernel releases however its holder ends (flock(2)). Processes of earlier
 * versions respect it, and it respects theirs.
 */
export class Lock implements Disposable {
  readonly #path: string;
  readonly #fd: number;
  readonly #server: Server | undefined;

  private constructor(path: string, fd: number, server: Server | undefined) {
    this.#path = path;
    this.#fd = fd;
    this.#server = server;
  }

  /**
   * Returns undefined while another process holds it. Throws IO, for example if others may write to the
   * folder.
   */
  static async tryTake({ path, former, onImpostor }: LockOptions): Promise<Lock | undefined> {
    const fd = lockFile(path);
    if (fd === undefined) return undefined;
    try {
      const server = await listen(`\0${former}`);
      if (server) return new Lock(path, fd, server);
      const uid = ownerOf(former);
      if (uid !== process.geteuid?.()) {
        onImpostor?.(uid);
        return new Lock(path, fd, undefined);
      }
    } catch (error) {
      release(path, fd);
      throw error;
    }
    release(path, fd);
    return undefined;
  }

  [Symbol.dispose](): void {
    this.#server?.close();
    release(this.#path, this.#fd);
  }
}

function lockFile(path: string): number | undefined {
  prepareFolder(dirname(path));
  for (;;) {
    const fd = open(path);
    try {
      sys.flock(fd, sys.LOCK_EX | sys.LOCK_NB);
      // Its former holder may have removed the file since we opened it.
      if (fs.fstatSync(fd).ino === fs.statSync(path, { throwIfNoEntry: false })?.ino) return fd;
    } catch (error) {
      fs.closeSync(fd);
      if (error instanceof FlatnetError && error.errno === 'EAGAIN') return undefined;
      throw error;
    }
    fs.closeSync(fd);
  }
}

/** Whoever may write to the folder could take the lock. */
function prepareFolder(dir: string): void {
  try {
    fs.mkdirSync(dir, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw ioError('create', dir, error);
  }
  const { uid, mode } = fs.lstatSync(dir);
  if (uid === process.geteuid?.() && (mode & 0o022) === 0) return;
  throw new FlatnetError('others may write to the folder of the locks', {
    code: 'IO',
    operation: 'lock',
    object: dir,
    fix: `chown root ${dir} && chmod 700 ${dir}`,
  });
}

function open(path: string): number {
  try {
    return fs.openSync(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0o600);
  } catch (error) {
    throw ioError('lock', path, error);
  }
}

/** The file goes before the lock: whoever opens it afterwards makes a new one. */
function release(path: string, fd: number): void {
  fs.rmSync(path, { force: true });
  fs.closeSync(fd);
}

/** Returns undefined if the name is taken. */
async function listen(address: string): Promise<Server | undefined> {
  const server = createServer((socket) => socket.destroy());
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(address, resolve);
    });
    return server.unref();
  } catch (cause) {
    if (codeOf(cause) === 'EADDRINUSE') return undefined;
    throw new FlatnetError(messageOf(cause), { code: 'IO', operation: 'lock', object: address, cause });
  }
}

/** The user whose process listens on an abstract socket; undefined if it does not answer. */
function ownerOf(name: string): number | undefined {
  const fd = sys.socket(AF_UNIX, SOCK_STREAM | sys.SOCK_NONBLOCK | sys.SOCK_CLOEXEC, 0);
  try {
    sys.connect(fd, Buffer.concat([Uint8Array.of(AF_UNIX, 0, 0), Buffer.from(name)]));
    return sys.peerUid(fd);
  } catch {
    return undefined;
  } finally {
    fs.closeSync(fd);
  }
}
