import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** A certificate authority in a folder, for tests. */
export class Authority {
  readonly ca: string;
  readonly #folder: string;
  readonly #name: string;
  #issued = 0;

  constructor(folder: string, name = 'ca') {
    this.#folder = folder;
    this.#name = name;
    this.ca = join(folder, `${name}.crt`);
    const [key, subject] = [join(folder, `${name}.key`), `/CN=${name}`];
    openssl('req', '-x509', ...NEW_KEY, '-keyout', key, '-out', this.ca, '-days', '30', '-subj', subject);
  }

  get text(): string {
    return readFileSync(this.ca, 'utf8');
  }

  /** A certificate for a server on loopback, and on these addresses. */
  server(...addresses: readonly string[]): { readonly cert: string; readonly key: string } {
    const names = ['127.0.0.1', ...addresses].map((address) => `IP:${address}`);
    const all = `subjectAltName=${names.join(',')},DNS:kubernetes.default.svc`;
    return this.#issue('/CN=kube-apiserver', `${all}\nextendedKeyUsage=serverAuth`);
  }

  /** A certificate by which the API server knows a user and its groups. */
  client(user: string, ...groups: string[]): { readonly cert: string; readonly key: string } {
    const subject = [...groups.map((group) => `/O=${group}`), `/CN=${user}`].join('');
    return this.#issue(subject, 'extendedKeyUsage=clientAuth');
  }

  #issue(subject: string, extensions: string): { cert: string; key: string } {
    const base = join(this.#folder, `${this.#name}-${++this.#issued}`);
    const [cert, key, csr, ext] = ['crt', 'key', 'csr', 'ext'].map((suffix) => `${base}.${suffix}`) as Four;
    writeFileSync(ext, extensions);
    openssl('req', '-new', ...NEW_KEY, '-keyout', key, '-out', csr, '-subj', subject);
    const signer = ['-CA', this.ca, '-CAkey', join(this.#folder, `${this.#name}.key`), '-CAcreateserial'];
    openssl('x509', '-req', '-in', csr, '-out', cert, '-days', '30', '-extfile', ext, ...signer);
    return { cert, key };
  }
}

type Four = [string, string, string, string];

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

export function openssl(...args: readonly string[]): void {
  execFileSync('openssl', args, { stdio: 'pipe' });
}
