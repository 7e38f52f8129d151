// etcd's errors with their gRPC codes from api/v3rpc/rpctypes, so that a client sees no difference.
const ERRORS = {
  emptyKey: [3, 'etcdserver: key is not provided'],
  duplicateKey: [3, 'etcdserver: duplicate key given in txn request'],
  tooManyOperations: [3, 'etcdserver: too many operations in txn request'],
  tooLarge: [3, 'etcdserver: request is too large'],
  leaseNotFound: [5, 'etcdserver: requested lease not found'],
  leaseExists: [9, 'etcdserver: lease already exists'],
  authDisabled: [9, 'etcdserver: authentication is not enabled'],
  compacted: [11, 'etcdserver: mvcc: required revision has been compacted'],
  futureRevision: [11, 'etcdserver: mvcc: required revision is a future revision'],
  noPastReads: [12, 'the embedded store can only read the newest revision'],
} as const;

const HTTP: Record<number, number> = { 3: 400, 5: 404, 8: 429, 9: 412, 11: 400, 12: 501, 14: 503 };

/** An error answer in the gateway's shape. */
export class EtcdError extends Error {
  /** A gRPC status code. */
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }

  get status(): number {
    return HTTP[this.code] ?? 500;
  }

  toJSON(): object {
    return { error: this.message, message: this.message, code: this.code };
  }
}

export function etcdError(name: keyof typeof ERRORS): EtcdError {
  const [code, message] = ERRORS[name];
  return new EtcdError(code, message);
}

/** Returns the error for an API feature the embedded store lacks. */
export function unsupported(what: string): EtcdError {
  return new EtcdError(12, `the embedded store does not support ${what}`);
}

export function malformed(what: string): EtcdError {
  return new EtcdError(3, what);
}
