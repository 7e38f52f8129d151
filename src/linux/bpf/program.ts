import { closeSync } from 'node:fs';
import { FlatnetError } from '../../error.ts';
import { Attribute, stable, stableCopy } from './attribute.ts';

/** For packets of an interface: BPF_PROG_TYPE_SCHED_CLS. */
const CLASSIFIER = 3;
const INSTRUCTION = 8;
const LOG = 1 << 20;
const ATTEMPTS = 10;
/** Where id and name are in struct bpf_prog_info, the name's size, and the bytes up to its end. */
const ID = 4;
const NAME = 64;
const NAME_SIZE = 16;
const INFO = NAME + NAME_SIZE;

/**
 * Loads a program and returns its descriptor. `name`: up to 15 bytes. Throws SYSCALL: EPERM without the right
 * to, EINVAL and EACCES with the verifier's last words.
 */
export function loadProgram(name: string, instructions: Buffer): number {
  const attempt = (log?: Buffer): number => {
    const attribute = new Attribute()
      .u32(0, CLASSIFIER)
      .u32(4, instructions.length / INSTRUCTION)
      .pointer(8, stableCopy(instructions))
      // Some helpers are for programs under the GPL, or a compatible licence.
      .pointer(16, stableCopy('Dual MIT/GPL'))
      .text(48, name);
    if (log) attribute.u32(24, 1).u32(28, log.length).pointer(32, log);
    return attribute.run('program load');
  };
  try {
    return persistently(attempt);
  } catch (error) {
    if (!(error instanceof FlatnetError) || error.errno === 'EPERM') throw error;
    throw new FlatnetError(error.message, { code: 'SYSCALL', object: name, cause: verdictOf(attempt) });
  }
}

/** The verifier gives up with EAGAIN when a signal waits for this thread (bpf_check), which gets it then. */
function persistently(attempt: () => number): number {
  for (let left = ATTEMPTS; ; left--) {
    try {
      return attempt();
    } catch (error) {
      if (!(error instanceof FlatnetError) || error.errno !== 'EAGAIN' || left === 1) throw error;
    }
  }
}

/** The verifier's log, of a second attempt; without one a success is as good as a failure. */
function verdictOf(attempt: (log: Buffer) => number): string {
  const log = stable(LOG);
  try {
    closeSync(attempt(log));
  } catch {
    // It is the same.
  }
  return log.toString('latin1', 0, log.indexOf(0)).trim();
}

/** The number by which the kernel knows a loaded program. */
export function idOf(fd: number): number {
  return infoOf(fd).readUInt32LE(ID);
}

/** A loaded program's descriptor and name; undefined if it is gone. Throws SYSCALL. */
export function programById(id: number): { readonly fd: number; readonly name: string } | undefined {
  let fd: number;
  try {
    fd = new Attribute().u32(0, id).run('program by id');
  } catch (error) {
    if (error instanceof FlatnetError && error.errno === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const info = infoOf(fd);
    const end = info.indexOf(0, NAME);
    return { fd, name: info.toString('latin1', NAME, end < 0 ? INFO : end) };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function infoOf(fd: number): Buffer {
  const info = stable(INFO);
  new Attribute().u32(0, fd).u32(4, INFO).pointer(8, info).run('object info');
  return info;
}
