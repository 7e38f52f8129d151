import { Attribute, stable, stableCopy } from '../../../src/linux/bpf/attribute.ts';

/** Bytes of a frame with its new headers. */
const LARGEST = 4096;

/** Runs a loaded program on a frame (BPF_PROG_TEST_RUN). Returns its verdict, and what it made of that. */
export function runProgram(fd: number, frame: Uint8Array): { verdict: number; frame: Buffer } {
  const out = stable(LARGEST);
  const attribute = new Attribute()
    .u32(0, fd)
    .u32(8, frame.length)
    .u32(12, out.length)
    .pointer(16, stableCopy(frame))
    .pointer(24, out)
    .u32(32, 1);
  attribute.run('program run');
  return { verdict: attribute.read(4) | 0, frame: out.subarray(0, attribute.read(12)) };
}
