import { constants } from 'node:os';
import { getSystemErrorMessage } from 'node:util';

/** Linux error numbers that libuv, and so Node's own table, lacks (asm-generic/errno.h, linux/errno.h). */
const LINUX_ONLY: Readonly<Record<string, number>> = {
  ECHRNG: 44,
  ENONET: 64,
  ENOTUNIQ: 76,
  EREMCHG: 78,
  ERESTART: 85,
  EUSERS: 87,
  ESOCKTNOSUPPORT: 94,
  EPFNOSUPPORT: 96,
  ESHUTDOWN: 108,
  EHOSTDOWN: 112,
  EUCLEAN: 117,
  EREMOTEIO: 121,
  EMEDIUMTYPE: 124,
  ENOKEY: 126,
  EKEYEXPIRED: 127,
  EKEYREJECTED: 129,
  EHWPOISON: 133,
  ENOTSUPP: 524,
};

const NAMES = new Map<number, string>();
for (const [name, number] of [...Object.entries(constants.errno), ...Object.entries(LINUX_ONLY)]) {
  // Linux has two names for some numbers (EAGAIN and EWOULDBLOCK, EOPNOTSUPP and ENOTSUP); the first is the
  // common one.
  if (!NAMES.has(number)) NAMES.set(number, name);
}
NAMES.set(95, 'EOPNOTSUPP');

/** `17` → `EEXIST`; a number without a name → `E999`. */
export function errnoName(errno: number): string {
  return NAMES.get(errno) ?? `E${errno}`;
}

/** `17` → `file already exists`; a number without a text → its name. */
export function errnoText(errno: number): string {
  const text = getSystemErrorMessage(-errno);
  return !text || text.startsWith('Unknown system error') ? errnoName(errno) : text;
}
