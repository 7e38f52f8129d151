import { closeSync } from 'node:fs';
import { FlatnetError } from '../../error.ts';
import { Attribute, stable } from './attribute.ts';
import { programById } from './program.ts';

/** BPF_TCX_INGRESS and BPF_TCX_EGRESS. */
const TYPES = { ingress: 46, egress: 47 } as const;
export type Side = keyof typeof TYPES;

const REPLACE = 1 << 2;
/** Programs at one place, at most (BPF_MPROG_MAX). */
const MOST = 64;
/** There can be nothing: no right to bpf(2), a kernel without it or TCX, an interface that is gone. */
const NONE: readonly string[] = ['EPERM', 'EINVAL', 'ENOSYS', 'ENODEV'];

/** A place for programs: what an interface, by its index, receives or sends. */
export type Place = { readonly dev: number; readonly side: Side };

/**
 * Attaches a program behind those that are there, or in the place of one of them, without a gap. It stays
 * until it is detached or the interface goes. Throws KERNEL_FEATURE before Linux 6.6, otherwise SYSCALL.
 */
export function attach({ dev, side }: Place, fd: number, replaced?: number): void {
  const attribute = new Attribute().u32(0, dev).u32(4, fd).u32(8, TYPES[side]);
  if (replaced !== undefined) attribute.u32(12, REPLACE).u32(16, replaced);
  try {
    attribute.run('program attach');
  } catch (error) {
    if (errnoOf(error) !== 'EINVAL') throw error;
    throw new FlatnetError('the kernel has no places for programs at interfaces (TCX)', {
      code: 'KERNEL_FEATURE',
      fix: 'Linux 6.6 and later have',
      cause: error,
    });
  }
}

/** Removes a program from a place, if it is there. Throws SYSCALL. */
export function detach({ dev, side }: Place, fd: number): void {
  try {
    new Attribute().u32(0, dev).u32(4, fd).u32(8, TYPES[side]).run('program detach');
  } catch (error) {
    if (!['ENOENT', 'ENODEV'].includes(errnoOf(error) ?? '')) throw error;
  }
}

/** The ids of the programs at a place, in their order. Throws SYSCALL. */
export function attachedAt({ dev, side }: Place): readonly number[] {
  const ids = stable(4 * MOST);
  const attribute = new Attribute().u32(0, dev).u32(4, TYPES[side]).pointer(16, ids).u32(24, MOST);
  try {
    attribute.run('program query');
  } catch (error) {
    if (NONE.includes(errnoOf(error) ?? '')) return [];
    throw error;
  }
  return Array.from({ length: attribute.read(24) }, (_, i) => ids.readUInt32LE(4 * i));
}

/** Calls `use` with the descriptor of each program at a place that has this name. */
export function eachNamed(place: Place, name: string, use: (fd: number) => void): void {
  for (const id of attachedAt(place)) {
    const program = programById(id);
    if (!program) continue;
    try {
      if (program.name === name) use(program.fd);
    } finally {
      closeSync(program.fd);
    }
  }
}

function errnoOf(error: unknown): string | undefined {
  return error instanceof FlatnetError ? error.errno : undefined;
}
