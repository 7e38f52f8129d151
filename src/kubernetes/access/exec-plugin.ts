import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { Fields } from '../../cluster/fields.ts';
import { codeOf, FlatnetError } from '../../error.ts';
import { excerpt } from '../../problem.ts';
import type { TlsMaterial } from './access.ts';
import type { ExecConfig } from './kubeconfig.ts';

/** What a plugin printed: a token, a certificate with its key, or both. */
export type ExecCredential = {
  readonly token?: string;
  readonly cert?: string;
  readonly key?: string;
  /** Milliseconds since 1970. Absent: for as long as the server accepts it. */
  readonly expires?: number;
};

/** How many seconds before its expiry a credential is replaced: requests take a moment, clocks differ. */
const MARGIN = 10;
const PATIENCE = 60_000;

/** A credential plugin: a program that is run when there is no credential, or none that will last. */
export class ExecPlugin {
  readonly #config: ExecConfig;
  readonly #cluster: { readonly server: string; readonly tls: () => Promise<TlsMaterial> };
  #credential: Promise<ExecCredential> | undefined;

  constructor(config: ExecConfig, cluster: { server: string; tls: () => Promise<TlsMaterial> }) {
    this.#config = config;
    this.#cluster = cluster;
  }

  /** Runs the program if need be; callers at the same time share one run. Throws CONFIG_INVALID. */
  async credential(): Promise<ExecCredential> {
    const last = this.#credential;
    if (last) {
      const { expires } = await last;
      if (expires === undefined || Date.now() < expires - MARGIN * 1000) return last;
      if (this.#credential === last) this.#credential = undefined;
    }
    this.#credential ??= this.#run().catch((error: unknown) => {
      this.#credential = undefined;
      throw error;
    });
    return this.#credential;
  }

  /** Makes the next call run the program. */
  forget(): void {
    this.#credential = undefined;
  }

  async #run(): Promise<ExecCredential> {
    const { command, args, env, apiVersion } = this.#config;
    const info = { apiVersion, kind: 'ExecCredential', spec: await this.#spec() };
    const run = promisify(execFile)(command, [...args], {
      env: { ...process.env, ...env, KUBERNETES_EXEC_INFO: JSON.stringify(info) },
      timeout: PATIENCE,
    });
    const { stdout } = await run.catch((error: unknown) => Promise.reject(this.#failure(error)));
    return readExecCredential(stdout, apiVersion);
  }

  /** Shows what the program complained of, but neither its output nor its arguments: they may be secret. */
  #failure(error: unknown): FlatnetError {
    const { command, installHint } = this.#config;
    const missing = codeOf(error) === 'ENOENT';
    const complaint = error instanceof Error && 'stderr' in error ? excerpt(String(error.stderr).trim()) : '';
    return new FlatnetError(missing ? 'is not installed' : complaint || 'failed, and did not say why', {
      code: 'CONFIG_INVALID',
      operation: 'run credential plugin',
      object: command,
      ...(missing && installHint && { fix: excerpt(installHint) }),
    });
  }

  async #spec(): Promise<object> {
    if (!this.#config.provideClusterInfo) return { interactive: false };
    const { ca, serverName, insecure } = await this.#cluster.tls();
    const cluster = {
      server: this.#cluster.server,
      ...(ca !== undefined && { 'certificate-authority-data': Buffer.from(ca).toString('base64') }),
      ...(serverName !== undefined && { 'tls-server-name': serverName }),
      ...(insecure && { 'insecure-skip-tls-verify': true }),
    };
    return { interactive: false, cluster };
  }
}

/** Reads a plugin's output, which never appears in errors. Throws CONFIG_INVALID. */
export function readExecCredential(output: string, apiVersion: string): ExecCredential {
  let value: unknown;
  try {
    value = JSON.parse(output);
  } catch {
    throw new FlatnetError('must be JSON', { code: 'CONFIG_INVALID', object: 'ExecCredential' });
  }
  const fields = new Fields(value, 'ExecCredential');
  if (fields.string('kind') !== 'ExecCredential' || fields.string('apiVersion') !== apiVersion) {
    throw fields.invalid('apiVersion', `must be ${apiVersion}, of kind ExecCredential`);
  }
  const status = fields.object('status');
  const [token, cert, key] = ['token', 'clientCertificateData', 'clientKeyData'].map((name) =>
    status?.string(name),
  );
  if (!status || !(token || (cert && key))) {
    throw fields.invalid('status', 'has neither a token nor a certificate with its key');
  }
  const expires = status.parsed('expirationTimestamp', parseTime);
  return {
    ...(token && { token }),
    ...(cert && key && { cert, key }),
    ...(expires !== undefined && { expires }),
  };
}

function parseTime(text: string): number {
  const time = Date.parse(text);
  if (Number.isNaN(time)) throw new Error(`'${excerpt(text, 40)}' is not a time`);
  return time;
}
