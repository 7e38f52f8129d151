import { FlatnetError, messageOf } from '../../error.ts';
import { CURRENT } from './version.ts';

/** The error codes of the CNI specification. */
export const CODE = {
  INCOMPATIBLE_VERSION: 1,
  UNSUPPORTED_FIELD: 2,
  INVALID_ENVIRONMENT: 4,
  IO: 5,
  DECODING: 6,
  INVALID_CONFIG: 7,
  INVALID_NETNS: 8,
  TRY_AGAIN: 11,
  NOT_READY: 50,
  /** Reported by plugins built on Go's skel for a plain error. */
  INTERNAL: 999,
} as const;
export type Code = (typeof CODE)[keyof typeof CODE];

/** The object a failing plugin prints on stdout instead of a result. */
export type ErrorObject = {
  readonly cniVersion: string;
  readonly code: number;
  readonly msg: string;
  readonly details?: string;
};

/** An error with a CNI error code. */
export class CniError extends FlatnetError {
  readonly number: Code;
  readonly text: string;
  readonly details: string;

  constructor(number: Code, text: string, details = '', cause?: unknown) {
    super([text, details].filter(Boolean).join('; '), { code: 'CNI', cause });
    this.number = number;
    this.text = text;
    this.details = details;
  }
}

/** Returns the error for an unsupported setting. The specification requires key and value in the message. */
export function unsupported(key: string, value: unknown, details = ''): CniError {
  return new CniError(CODE.UNSUPPORTED_FIELD, `unsupported: ${key} ${JSON.stringify(value)}`, details);
}

export function errorObject(error: unknown, cniVersion: string = CURRENT): ErrorObject {
  const number = numberOf(error);
  if (error instanceof CniError) {
    return {
      cniVersion,
      code: number,
      msg: error.text,
      ...(error.details ? { details: error.details } : {}),
    };
  }
  return { cniVersion, code: number, msg: messageOf(error) || 'unknown error' };
}

function numberOf(error: unknown): Code {
  if (error instanceof CniError) return error.number;
  if (!(error instanceof FlatnetError)) return CODE.INTERNAL;
  switch (error.code) {
    case 'CONFIG_INVALID':
    case 'ADDRESS_INVALID':
      return CODE.INVALID_CONFIG;
    // An address may be released at any time.
    case 'OUT_OF_ADDRESSES':
    // The store may soon be reachable again, or less busy.
    case 'STORE_CONFLICT':
    case 'STORE_UNAVAILABLE':
      return CODE.TRY_AGAIN;
    default:
      return CODE.INTERNAL;
  }
}
