import fs from 'node:fs';
import { codeOf, FlatnetError } from '../../error.ts';
import { ioError } from './descriptor.ts';

/** Reads that time out, 250 ms each (15 seconds in total), before giving up on the kernel. */
const MAX_SILENT_READS = 60;
/**
 * A dump's datagram holds at most 32 KiB (netlink_dump in af_netlink.c), any other message less than 64 KiB.
 */
const READ_SIZE = 64 << 10;

/**
 * Shared by all sockets: nothing else runs between a read and its decoding. Otherwise each pod's socket would
 * allocate 64 KiB for one or two answers.
 */
const BUFFER = Buffer.allocUnsafeSlow(READ_SIZE);

/** The kernel's answers to one exchange. */
export class Answers {
  readonly #fd: number;
  #silentReads = 0;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /**
   * The next datagram, which the next read of any socket overwrites; undefined if there was none for now.
   * Throws SYSCALL, or TIMEOUT after 15 seconds of silence.
   */
  read(): Buffer | undefined {
    try {
      const datagram = BUFFER.subarray(0, fs.readSync(this.#fd, BUFFER, 0, READ_SIZE, null));
      this.#silentReads = 0;
      return datagram;
    } catch (error) {
      if (!isNothing(error)) throw ioError('netlink read', error);
    }
    if (this.#silentReads++ < MAX_SILENT_READS) return undefined;
    throw new FlatnetError('the kernel did not answer', { code: 'TIMEOUT', operation: 'netlink read' });
  }
}

/** EAGAIN: the receive timeout. EINTR: a signal, after which libuv repeats writes, but not reads. */
function isNothing(error: unknown): boolean {
  return codeOf(error) === 'EAGAIN' || codeOf(error) === 'EINTR';
}
