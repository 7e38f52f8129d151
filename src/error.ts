/** What went wrong, in parts a program can switch on and a person can act on. */
export type ErrorParts = {
  /** Stable code: never changes meaning between releases, e.g. `CONFIG_INVALID`, `NETLINK`. */
  readonly code: ErrorCode;
  /** What was being done, e.g. `route replace`. */
  readonly operation?: string;
  /** What it was being done to, e.g. `10.244.1.0/24 dev flannel.1`, or a configuration field. */
  readonly object?: string;
  /** The kernel's errno name, e.g. `EEXIST`. */
  readonly errno?: string;
  /** What the reader can do about it. */
  readonly fix?: string;
  readonly cause?: unknown;
};

export const ERROR_CODES = [
  'ADDRESS_INVALID',
  'ADDRESS_TAKEN',
  'AGENT_RUNNING',
  'AGENT_UNREACHABLE',
  'BIRD',
  'CLOUD',
  'CNI',
  'COMMAND_FAILED',
  'CONFIG_INVALID',
  'IN_USE',
  'INTERNAL',
  'INTERRUPTED',
  'IO',
  'KERNEL_FEATURE',
  'KIND_UNKNOWN',
  'LAB_EXISTS',
  'LAB_INCOMPLETE',
  'LAB_MISSING',
  'LEASE_LOST',
  'MANIFEST_INVALID',
  'NAME_INVALID',
  'NAME_TAKEN',
  'NETLINK',
  'NFTABLES',
  'NOT_FOUND',
  'NOT_ROOT',
  'OUT_OF_ADDRESSES',
  'OUT_OF_SUBNETS',
  'STORE_COMPACTED',
  'STORE_CONFLICT',
  'STORE_EXISTS',
  'STORE_FORBIDDEN',
  'STORE_REFUSED',
  'STORE_UNAVAILABLE',
  'SYSCALL',
  'TIMEOUT',
  'UNREACHABLE',
  'USAGE',
] as const;

export type ErrorCode = (typeof ERROR_CODES)[number];

/**
 * The one error class of flatnet. The message reads
 * `operation object: text (ERRNO); fix`, leaving out what is absent.
 */
export class FlatnetError extends Error {
  override readonly name = 'FlatnetError';
  readonly code: ErrorCode;
  readonly operation: string | undefined;
  readonly object: string | undefined;
  readonly errno: string | undefined;
  readonly fix: string | undefined;

  constructor(text: string, parts: ErrorParts) {
    const what = [parts.operation, parts.object].filter(Boolean).join(' ');
    const errno = parts.errno && !text.includes(parts.errno) ? ` (${parts.errno})` : '';
    const fix = parts.fix ? `; ${parts.fix}` : '';
    super(`${what ? `${what}: ` : ''}${text}${errno}${fix}`, { cause: parts.cause });
    this.code = parts.code;
    this.operation = parts.operation;
    this.object = parts.object;
    this.errno = parts.errno;
    this.fix = parts.fix;
  }

  /**
   * Rebuilds an error that another process serialised with `toJSON`, with the same message and parts. A value
   * of another shape, or with a code unknown to this release, becomes INTERNAL.
   */
  static fromJson(value: unknown): FlatnetError {
    const fields: Readonly<Record<string, unknown>> =
      typeof value === 'object' && value !== null ? { ...value } : { message: JSON.stringify(value) };
    const text = (name: string) => (typeof fields[name] === 'string' ? fields[name] : undefined);
    const [operation, object, errno, fix] = ['operation', 'object', 'errno', 'fix'].map(text);
    const error = new FlatnetError('', {
      code: ERROR_CODES.find((code) => code === fields.code) ?? 'INTERNAL',
      ...(operation !== undefined && { operation }),
      ...(object !== undefined && { object }),
      ...(errno !== undefined && { errno }),
      ...(fix !== undefined && { fix }),
    });
    // The serialised message already includes all the parts.
    error.message = text('message') ?? JSON.stringify(value);
    return error;
  }

  toJSON(): Record<string, unknown> {
    return {
      code: this.code,
      message: this.message,
      operation: this.operation,
      object: this.object,
      errno: this.errno,
      fix: this.fix,
    };
  }
}

/** Returns the message of any thrown value. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The `code` of a Node system error or a FlatnetError, e.g. `ENOENT`; undefined for anything else. */
export function codeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/** Wraps a failed file operation as an IO error, with Node's errno. */
export function ioError(operation: string, path: string, error: unknown): FlatnetError {
  const errno = codeOf(error);
  return new FlatnetError(messageOf(error), {
    code: 'IO',
    operation,
    object: path,
    ...(errno && { errno }),
    cause: error,
  });
}
