import koffi from 'koffi';
import { type ErrorParts, FlatnetError } from '../error.ts';
import { errnoName, errnoText } from './errno.ts';

/**
 * The few libc calls that Node lacks. Each returns the system call's result, and throws FlatnetError
 * `SYSCALL` with the errno name if that is negative. For reading and writing, use `node:fs` on the
 * descriptor.
 */
const libc = koffi.load(null);

// Results are deliberately int32: an int64 would be a BigInt, and allocating one may trigger garbage
// collection, which may overwrite errno before it is read.
const c = {
  socket: libc.func('int socket(int domain, int type, int protocol)'),
  bind: libc.func('int bind(int fd, const void *address, uint32_t length)'),
  connect: libc.func('int connect(int fd, const void *address, uint32_t length)'),
  flock: libc.func('int flock(int fd, int operation)'),
  getsockname: libc.func('int getsockname(int fd, void *address, void *length)'),
  setsockopt: libc.func('int setsockopt(int fd, int level, int name, const void *value, uint32_t length)'),
  getsockopt: libc.func('int getsockopt(int fd, int level, int name, void *value, void *length)'),
  sendto: libc.func(
    'int32_t sendto(int fd, const void *data, size_t size, int flags, const void *address, uint32_t length)',
  ),
  recvfrom: libc.func(
    'int32_t recvfrom(int fd, void *data, size_t size, int flags, void *address, void *length)',
  ),
  recvmmsg: libc.func('int recvmmsg(int fd, void *table, unsigned int count, int flags, void *timeout)'),
  poll: libc.func('int poll(void *fds, unsigned long count, int timeout)'),
  read: libc.func('int32_t read(int fd, void *data, size_t size)'),
  write: libc.func('int32_t write(int fd, const void *data, size_t size)'),
  sendmsg: libc.func('int32_t sendmsg(int fd, const void *message, int flags)'),
  setns: libc.func('int setns(int fd, int type)'),
  unshare: libc.func('int unshare(int flags)'),
  mount: libc.func(
    'int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)',
  ),
  umount2: libc.func('int umount2(const char *target, int flags)'),
  ioctl: libc.func('int ioctl(int fd, unsigned long request, void *argument)'),
  ioctlValue: libc.func('int ioctl(int fd, unsigned long request, unsigned long value)'),
  memfd_create: libc.func('int memfd_create(const char *name, unsigned int flags)'),
  // glibc has no function for bpf(2).
  bpf: libc.func('int32_t syscall(long number, int command, void *attribute, unsigned int size)'),
};

// One view per thread: each worker evaluates this module itself and so gets its own errno.
const errno = new Int32Array(koffi.view(libc.func('int *__errno_location()')(), 4));

export const SOCK_RAW = 3;
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = 0o2000000;
export const CLONE_NEWNET = 0x40000000;
export const MS_BIND = 0x1000;
export const MS_REC = 0x4000;
export const MS_SHARED = 0x100000;
export const MNT_DETACH = 2;
export const POLLIN = 1;
export const O_RDWR = 2;
export const O_NONBLOCK = 0o4000;
export const O_CLOEXEC = 0o2000000;
export const MSG_DONTWAIT = 0x40;
export const SOL_SOCKET = 1;
export const LOCK_EX = 2;
export const LOCK_NB = 4;
const SO_PEERCRED = 17;
const NR_BPF = process.arch === 'arm64' ? 280 : 321;

/** Returns a descriptor, like socket(2). */
export function socket(domain: number, type: number, protocol: number): number {
  return check(c.socket(domain, type, protocol), errno[0], 'socket', `family ${domain} protocol ${protocol}`);
}

export function bind(fd: number, address: Uint8Array): void {
  check(c.bind(fd, address, address.length), errno[0], 'bind');
}

export function connect(fd: number, address: Uint8Array): void {
  check(c.connect(fd, address, address.length), errno[0], 'connect');
}

/** Locks an open file, like flock(2). Throws EAGAIN with LOCK_NB while another process holds the lock. */
export function flock(fd: number, operation: number): void {
  check(c.flock(fd, operation), errno[0], 'flock');
}

/** Returns the user of the process at the other end of a unix socket: struct ucred. */
export function peerUid(fd: number): number {
  const credentials = Buffer.alloc(12);
  const length = Buffer.from(Uint32Array.of(credentials.length).buffer);
  check(
    c.getsockopt(fd, SOL_SOCKET, SO_PEERCRED, credentials, length),
    errno[0],
    'getsockopt',
    'SO_PEERCRED',
  );
  return credentials.readUInt32LE(4);
}

/** Returns the socket's own address, a sockaddr of at most 128 bytes. */
export function getsockname(fd: number): Buffer {
  const address = Buffer.alloc(128);
  const length = Buffer.from(Uint32Array.of(address.length).buffer);
  check(c.getsockname(fd, address, length), errno[0], 'getsockname');
  return address.subarray(0, length.readUInt32LE());
}

/** Sets an option to an int, or to the bytes of a struct. */
export function setsockopt(fd: number, level: number, name: number, value: number | Uint8Array): void {
  const bytes = typeof value === 'number' ? Buffer.from(Int32Array.of(value).buffer) : value;
  check(
    c.setsockopt(fd, level, name, bytes, bytes.length),
    errno[0],
    'setsockopt',
    `level ${level} name ${name}`,
  );
}

/** Reads an int option. */
export function getsockopt(fd: number, level: number, name: number): number {
  const value = Buffer.alloc(4);
  const length = Buffer.from(Uint32Array.of(4).buffer);
  check(c.getsockopt(fd, level, name, value, length), errno[0], 'getsockopt', `level ${level} name ${name}`);
  return value.readInt32LE();
}

export function sendto(fd: number, data: Uint8Array, flags: number, address: Uint8Array): number {
  const sent = c.sendto(fd, data, data.length, flags, address, address.length);
  return check(sent, errno[0], 'sendto');
}

/**
 * Receives one datagram into `data`, and the sender's sockaddr into `address` if given. Returns its size in
 * bytes, or undefined if none is queued (EAGAIN, EINTR).
 */
export function recvfrom(
  fd: number,
  data: Uint8Array,
  flags: number,
  address?: Uint8Array,
): number | undefined {
  const length = address ? Buffer.from(Uint32Array.of(address.length).buffer) : null;
  const size: number = c.recvfrom(fd, data, data.length, flags, address ?? null, length);
  const error = errno[0];
  if (size < 0 && (error === 11 || error === 4)) return undefined;
  return check(size, error, 'recvfrom');
}

/**
 * Receives up to `count` datagrams into the buffers that a table of struct mmsghdr points to. Returns their
 * number: 0 if none is queued (EAGAIN, EINTR).
 */
export function recvmmsg(fd: number, table: Uint8Array, count: number, flags: number): number {
  const received: number = c.recvmmsg(fd, table, count, flags, null);
  const error = errno[0];
  if (received < 0 && (error === 11 || error === 4)) return 0;
  return check(received, error, 'recvmmsg');
}

/**
 * Waits in a pool thread for up to `timeout` milliseconds until a descriptor is readable, and returns those
 * that are. Keep the timeout short: the process cannot exit before the call returns.
 */
export async function pollReadable(fds: readonly number[], timeout: number): Promise<number[]> {
  const table = pollTable(fds);
  await new Promise<void>((resolve, reject) => {
    c.poll.async(table, fds.length, timeout, (error: unknown) => (error ? reject(error) : resolve()));
  });
  return fds.filter((_, i) => table.readInt16LE(8 * i + 6) !== 0);
}

/** A struct pollfd for each descriptor, to wait until it is readable. */
export function pollTable(fds: readonly number[]): Buffer {
  const table = Buffer.alloc(8 * fds.length);
  for (const [i, fd] of fds.entries()) {
    table.writeInt32LE(fd, 8 * i);
    table.writeInt16LE(POLLIN, 8 * i + 4);
  }
  return table;
}

/**
 * The same in this thread, which does nothing else meanwhile. `table`: struct pollfd, one after another.
 * Returns false after a signal or the timeout.
 */
export function pollHere(table: Uint8Array, count: number, timeout: number): boolean {
  const found: number = c.poll(table, count, timeout);
  const error = errno[0];
  return found < 0 && error === 4 ? false : check(found, error, 'poll') > 0;
}

/** Reads into the beginning of `data`, for loops that expect failures: returns the errno negated. */
export function readOr(fd: number, data: Uint8Array, size: number): number {
  const count: number = c.read(fd, data, size);
  return count < 0 ? -(errno[0] ?? 0) : count;
}

/** Writes the beginning of `data`; likewise. */
export function writeOr(fd: number, data: Uint8Array, size: number): number {
  const count: number = c.write(fd, data, size);
  return count < 0 ? -(errno[0] ?? 0) : count;
}

/** Sends what a struct msghdr describes; likewise. */
export function sendmsgOr(fd: number, message: Uint8Array, flags: number): number {
  const count: number = c.sendmsg(fd, message, flags);
  return count < 0 ? -(errno[0] ?? 0) : count;
}

/** Sends what a struct msghdr describes. */
export function sendmsg(fd: number, message: Uint8Array, flags: number): number {
  return check(c.sendmsg(fd, message, flags), errno[0], 'sendmsg');
}

/** Moves only the calling thread into another namespace. Prefer `withNetns`. */
export function setns(fd: number, type: number): void {
  check(c.setns(fd, type), errno[0], 'setns');
}

export function unshare(flags: number): void {
  check(c.unshare(flags), errno[0], 'unshare', `0x${flags.toString(16)}`);
}

export function mount(source: string, target: string, type: string, flags: number): void {
  check(c.mount(source, target, type, flags, null), errno[0], 'mount', target);
}

export function umount2(target: string, flags: number): void {
  check(c.umount2(target, flags), errno[0], 'umount', target);
}

/** `argument`: a struct that the kernel reads and may overwrite. */
export function ioctl(fd: number, request: number, argument: Uint8Array): number {
  return check(c.ioctl(fd, request, argument), errno[0], 'ioctl', `0x${request.toString(16)}`);
}

/** The same with a number instead of a struct. */
export function ioctlValue(fd: number, request: number, value: number): number {
  return check(c.ioctlValue(fd, request, value), errno[0], 'ioctl', `0x${request.toString(16)}`);
}

/** `attribute`: a union bpf_attr, which the kernel may write to. `operation`: what an error names. */
export function bpf(command: number, attribute: Uint8Array, operation: string): number {
  return check(c.bpf(NR_BPF, command, attribute, attribute.length), errno[0], operation);
}

/**
 * Gives free memory of libc's heap back to the kernel, like malloc_trim(3); nothing where libc is not glibc.
 */
export function trimHeap(): void {
  try {
    libc.func('int malloc_trim(size_t pad)')(0);
  } catch {
    // Other libraries lack the function.
  }
}

/** Creates an anonymous in-memory file, not inherited by child processes, and returns its descriptor. */
export function memfdCreate(name: string): number {
  const MFD_CLOEXEC = 1;
  return check(c.memfd_create(name, MFD_CLOEXEC), errno[0], 'memfd_create', name);
}

// Callers pass errno read immediately after the call: arguments are evaluated in order.
function check(result: number, error: number | undefined, operation: string, object?: string): number {
  if (result >= 0) return result;
  throw syscallError(error ?? 0, operation, object);
}

function syscallError(error: number, operation: string, object: string | undefined): FlatnetError {
  const parts: ErrorParts = { code: 'SYSCALL', operation, errno: errnoName(error) };
  return new FlatnetError(errnoText(error), object === undefined ? parts : { ...parts, object });
}
