import koffi from 'koffi';
import * as sys from './sys.ts';

const SO_ATTACH_FILTER = 26;
const INSTRUCTION = 8;
/** Instructions of the classic Berkeley packet filter (linux/filter.h); A and X are its registers. */
const LOAD_BYTE = 0x30;
const LOAD_HALF = 0x28;
const LOAD_HALF_AT_X = 0x48;
const LOAD_X_HEADER = 0xb1;
const JUMP_EQUAL = 0x15;
const JUMP_SET = 0x45;
const RETURN = 0x06;
const UDP = 17;
/** More fragments, and the offset of this one. */
const FRAGMENT = 0x3fff;
const WHOLE = 0xffff;

type Instruction = readonly [code: number, ifTrue: number, ifFalse: number, value: number];

/** Passes whole UDP datagrams between two ports, of packets that begin with their IPv4 header. */
function udpBetween(fromPort: number, toPort: number): readonly Instruction[] {
  return [
    [LOAD_BYTE, 0, 0, 9],
    [JUMP_EQUAL, 0, 8, UDP],
    [LOAD_HALF, 0, 0, 6],
    [JUMP_SET, 6, 0, FRAGMENT],
    [LOAD_X_HEADER, 0, 0, 0],
    [LOAD_HALF_AT_X, 0, 0, 0],
    [JUMP_EQUAL, 0, 3, fromPort],
    [LOAD_HALF_AT_X, 0, 0, 2],
    [JUMP_EQUAL, 0, 1, toPort],
    [RETURN, 0, 0, WHOLE],
    [RETURN, 0, 0, 0],
  ];
}

/** Lets a packet socket queue nothing but UDP datagrams from one port to another. */
export function receiveOnlyUdp(
  fd: number,
  { from, to }: { readonly from: number; readonly to: number },
): void {
  const instructions = udpBetween(from, to);
  const program = Buffer.alloc(INSTRUCTION * instructions.length);
  for (const [i, [code, ifTrue, ifFalse, value]] of instructions.entries()) {
    const at = INSTRUCTION * i;
    program.writeUInt16LE(code, at);
    program[at + 2] = ifTrue;
    program[at + 3] = ifFalse;
    program.writeUInt32LE(value, at + 4);
  }
  // A struct sock_fprog.
  const header = Buffer.alloc(16);
  header.writeUInt16LE(instructions.length, 0);
  header.writeBigUInt64LE(koffi.address(program), 8);
  sys.setsockopt(fd, sys.SOL_SOCKET, SO_ATTACH_FILTER, header);
}
