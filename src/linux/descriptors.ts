import koffi from 'koffi';
import * as sys from './sys.ts';

/** Descriptors in one message, and bytes of its text, at most. */
const MOST = 16;
const TEXT = 256;
/** Bytes of struct cmsghdr. */
const CONTROL_HEADER = 16;
const CONTROL = CONTROL_HEADER + 4 * MOST;
/** Where the parts of a message lie, behind its struct mmsghdr: all in one buffer, so that all stay. */
const VECTOR_AT = 64;
const CONTROL_AT = VECTOR_AT + 16;
const TEXT_AT = CONTROL_AT + CONTROL;
const NAME_AT = TEXT_AT + TEXT;
const SIZE = NAME_AT + 128;
/** Members of struct mmsghdr. */
const NAME_LENGTH = 8;
const CONTROL_LENGTH = 40;
const LENGTH = 56;
const SCM_RIGHTS = 1;
const MSG_CMSG_CLOEXEC = 0x40000000;

/** A message with open files: the other process gets them as its own (unix(7), SCM_RIGHTS). */
export type Passed = { readonly text: string; readonly fds: readonly number[] };

/**
 * Sends from one unix socket of datagrams to another, whose sockaddr is given. Throws SYSCALL if nobody
 * receives there.
 */
export function passDescriptors(socket: number, to: Buffer, { text, fds }: Passed): void {
  const message = newMessage(text.length, CONTROL_HEADER + 4 * fds.length);
  message.write(text, TEXT_AT, TEXT, 'latin1');
  to.copy(message, NAME_AT);
  message.writeBigUInt64LE(koffi.address(message) + BigInt(NAME_AT), 0);
  message.writeUInt32LE(to.length, NAME_LENGTH);
  message.writeUInt32LE(CONTROL_HEADER + 4 * fds.length, CONTROL_AT);
  message.writeInt32LE(sys.SOL_SOCKET, CONTROL_AT + 8);
  message.writeInt32LE(SCM_RIGHTS, CONTROL_AT + 12);
  for (const [i, fd] of fds.entries()) message.writeInt32LE(fd, CONTROL_AT + CONTROL_HEADER + 4 * i);
  sys.sendmsg(socket, message, sys.MSG_DONTWAIT);
}

/** Takes the next message, with or without descriptors; undefined for none. */
export function takeDescriptors(socket: number): Passed | undefined {
  const message = newMessage(TEXT, CONTROL);
  if (sys.recvmmsg(socket, message, 1, sys.MSG_DONTWAIT | MSG_CMSG_CLOEXEC) === 0) return undefined;
  const fds: number[] = [];
  const isRights =
    message.readUInt32LE(CONTROL_LENGTH) > CONTROL_HEADER &&
    message.readInt32LE(CONTROL_AT + 8) === sys.SOL_SOCKET &&
    message.readInt32LE(CONTROL_AT + 12) === SCM_RIGHTS;
  const end = isRights ? message.readUInt32LE(CONTROL_AT) : 0;
  for (let at = CONTROL_HEADER; at < end; at += 4) fds.push(message.readInt32LE(CONTROL_AT + at));
  return { text: message.toString('latin1', TEXT_AT, TEXT_AT + message.readUInt32LE(LENGTH)), fds };
}

/** A struct mmsghdr, and behind it what it points to. */
function newMessage(text: number, control: number): Buffer {
  const message = Buffer.alloc(SIZE);
  const base = koffi.address(message);
  message.writeBigUInt64LE(base + BigInt(VECTOR_AT), 16);
  message.writeBigUInt64LE(1n, 24);
  message.writeBigUInt64LE(base + BigInt(CONTROL_AT), 32);
  message.writeUInt32LE(control, CONTROL_LENGTH);
  message.writeBigUInt64LE(base + BigInt(TEXT_AT), VECTOR_AT);
  message.writeUInt32LE(text, VECTOR_AT + 8);
  return message;
}
