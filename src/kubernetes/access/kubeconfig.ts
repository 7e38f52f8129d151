import { dirname, resolve } from 'node:path';
import { Fields } from '../../cluster/fields.ts';
import { readYaml } from '../../cluster/yaml.ts';
import { FlatnetError } from '../../error.ts';

/** A secret or certificate, inline or in a file (an absolute path). */
export type Material = { readonly text: string } | { readonly file: string };

/** The cluster, the user and the namespace that a context selects. */
export type KubeconfigContext = {
  readonly cluster: KubeconfigCluster;
  readonly user: KubeconfigUser;
  readonly namespace: string;
};

export type KubeconfigCluster = {
  readonly server: string;
  readonly ca?: Material;
  readonly serverName?: string;
  readonly insecure?: boolean;
};

export type KubeconfigUser = {
  readonly token?: Material;
  readonly cert?: Material;
  readonly key?: Material;
  readonly basic?: { readonly username: string; readonly password: string };
  readonly impersonate?: Impersonation;
  readonly exec?: ExecConfig;
};

type Impersonation = { readonly user: string; readonly uid?: string; readonly groups: readonly string[] };

/** A program that prints credentials: KEP-541, client-go's credential plugins. */
export type ExecConfig = {
  readonly apiVersion: string;
  /** A name to look for in PATH, or an absolute path. */
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Whether the program wants to know the cluster. */
  readonly provideClusterInfo: boolean;
  /** What to do if the program is missing. */
  readonly installHint?: string;
};

const EXEC_VERSIONS = ['client.authentication.k8s.io/v1', 'client.authentication.k8s.io/v1beta1'];

/**
 * Reads kubeconfig files, merged as kubectl does: the first to name something wins. `context` defaults to the
 * current one. Throws CONFIG_INVALID naming file and field, NOT_FOUND for an unknown context.
 */
export function readKubeconfig(
  files: readonly { readonly path: string; readonly text: string }[],
  context?: string,
): KubeconfigContext {
  const configs = files.map(({ path, text }) => new Kubeconfig(path, text));
  const name = context ?? configs.map((each) => each.currentContext).find(Boolean);
  const paths = files.map(({ path }) => path).join(':');
  if (!name) {
    const parts = {
      code: 'CONFIG_INVALID',
      object: `${paths}: current-context`,
      fix: 'name a context',
    } as const;
    throw new FlatnetError('is not set', parts);
  }
  const find = <T>(what: string, wanted: string, of: (config: Kubeconfig) => T | undefined): T => {
    for (const config of configs) {
      const found = of(config);
      if (found !== undefined) return found;
    }
    throw new FlatnetError(`has no ${what} '${wanted}'`, { code: 'NOT_FOUND', object: paths });
  };
  const selected = find('context', name, (config) => config.context(name));
  return {
    cluster: find('cluster', selected.cluster, (config) => config.cluster(selected.cluster)),
    // A context without a user asks anonymously.
    user: selected.user ? find('user', selected.user, (config) => config.user(selected.user)) : {},
    namespace: selected.namespace,
  };
}

/** The context that kubeconfig files select; undefined if none does. Throws CONFIG_INVALID. */
export function currentContext(
  files: readonly { readonly path: string; readonly text: string }[],
): string | undefined {
  return files.map(({ path, text }) => new Kubeconfig(path, text).currentContext).find(Boolean);
}

/** One file; relative paths in it start at its folder. */
class Kubeconfig {
  readonly #path: string;
  readonly #root: Fields;

  constructor(path: string, text: string) {
    this.#path = resolve(path);
    const [document, more] = readYaml(text, path, 'CONFIG_INVALID');
    if (more) throw new FlatnetError('is a second document', { code: 'CONFIG_INVALID', object: more.at });
    this.#root = new Fields(document?.value ?? {}, path);
  }

  get currentContext(): string | undefined {
    return this.#root.string('current-context');
  }

  context(name: string): { cluster: string; user: string; namespace: string } | undefined {
    const fields = this.#named('contexts', 'context', name);
    if (!fields) return undefined;
    return {
      cluster: required(fields, 'cluster'),
      user: fields.string('user') ?? '',
      namespace: fields.string('namespace') || 'default',
    };
  }

  cluster(name: string): KubeconfigCluster | undefined {
    const fields = this.#named('clusters', 'cluster', name);
    if (!fields) return undefined;
    if (fields.string('proxy-url')) throw fields.invalid('proxy-url', 'is not supported');
    const ca = this.#material(fields, 'certificate-authority');
    const serverName = fields.string('tls-server-name');
    return {
      server: required(fields, 'server'),
      ...(ca && { ca }),
      ...(serverName && { serverName }),
      ...(fields.boolean('insecure-skip-tls-verify') && { insecure: true }),
    };
  }

  user(name: string): KubeconfigUser | undefined {
    const fields = this.#named('users', 'user', name);
    if (!fields) return undefined;
    if (fields.has('auth-provider')) {
      throw fields.invalid('auth-provider', 'is no longer supported by Kubernetes; use an exec plugin');
    }
    const token = this.#token(fields);
    const cert = this.#material(fields, 'client-certificate');
    const key = this.#material(fields, 'client-key');
    if (!cert !== !key) {
      throw fields.invalid(cert ? 'client-key' : 'client-certificate', 'is missing: the pair goes together');
    }
    const username = fields.string('username');
    const exec = fields.object('exec');
    const impersonate = impersonation(fields);
    return {
      ...(token && { token }),
      ...(cert && { cert }),
      ...(key && { key }),
      ...(username && { basic: { username, password: fields.string('password') ?? '' } }),
      ...(impersonate && { impersonate }),
      ...(exec && { exec: this.#exec(exec) }),
    };
  }

  /** The value under `key` of the list's entry with this name. */
  #named(list: string, key: string, name: string): Fields | undefined {
    for (const [i, entry] of (this.#root.list(list) ?? []).entries()) {
      const fields = new Fields(entry, `${this.#root.path}.${list}[${i}]`);
      if (fields.string('name') === name)
        return fields.object(key) ?? new Fields({}, `${fields.path}.${key}`);
    }
    return undefined;
  }

  /** `<name>-data`, in base64, goes before `<name>`, a path. */
  #material(fields: Fields, name: string): Material | undefined {
    const data = fields.string(`${name}-data`);
    if (data) return { text: fromBase64(fields, `${name}-data`, data) };
    const file = fields.string(name);
    return file ? { file: this.#resolve(file) } : undefined;
  }

  /** A file that is read again goes before a token that never changes. */
  #token(fields: Fields): Material | undefined {
    const file = fields.string('tokenFile');
    if (file) return { file: this.#resolve(file) };
    const text = fields.string('token');
    return text ? { text } : undefined;
  }

  #exec(fields: Fields): ExecConfig {
    const apiVersion = required(fields, 'apiVersion');
    if (!EXEC_VERSIONS.includes(apiVersion)) {
      throw fields.invalid('apiVersion', `must be ${EXEC_VERSIONS.join(' or ')}, not '${apiVersion}'`);
    }
    if (fields.string('interactiveMode') === 'Always') {
      throw fields.invalid('interactiveMode', 'is Always, but nobody can be asked');
    }
    const command = required(fields, 'command');
    const installHint = fields.string('installHint');
    const env = (fields.list('env') ?? []).map((entry, i) => {
      const pair = new Fields(entry, `${fields.path}.env[${i}]`);
      return [required(pair, 'name'), pair.string('value') ?? ''] as const;
    });
    return {
      apiVersion,
      command: command.includes('/') ? this.#resolve(command) : command,
      args: fields.parsedList('args', (text) => text) ?? [],
      env: Object.fromEntries(env),
      provideClusterInfo: fields.boolean('provideClusterInfo') ?? false,
      ...(installHint && { installHint }),
    };
  }

  #resolve(path: string): string {
    return resolve(dirname(this.#path), path);
  }
}

function impersonation(fields: Fields): Impersonation | undefined {
  const user = fields.string('as');
  const groups = fields.parsedList('as-groups', (text) => text) ?? [];
  const uid = fields.string('as-uid');
  if (user) return { user, groups, ...(uid && { uid }) };
  if (groups.length || uid) throw fields.invalid('as', 'is missing, with as-groups or as-uid set');
  return undefined;
}

function required(fields: Fields, name: string): string {
  const value = fields.string(name);
  if (!value) throw fields.invalid(name, 'is missing');
  return value;
}

function fromBase64(fields: Fields, name: string, data: string): string {
  const text = data.replace(/\s/g, '');
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text)) throw fields.invalid(name, 'is not base64');
  return Buffer.from(text, 'base64').toString('utf8');
}
