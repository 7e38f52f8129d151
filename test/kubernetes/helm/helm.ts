import { execFile } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parseAllDocuments } from 'yaml';
import { temporaryFolder } from '../../store/servers.ts';

const run = promisify(execFile);

const PROGRAM = process.env.FLATNET_HELM;
export const CHART = join(import.meta.dirname, '../../../deploy/helm/flatnet');
const RELEASE = ['flatnet', CHART, '--namespace', 'kube-flannel'] as const;

/** Why tests with Helm are skipped; false when they run. In CI they must run. */
export const NO_HELM =
  PROGRAM === undefined && !process.env.CI ? 'needs Helm: scripts/test builds it with Go' : false;

export type Values = Readonly<Record<string, unknown>>;

type Found = {
  readonly kind: string;
  readonly metadata: { readonly namespace?: string; readonly name: string };
};

/** Objects by kind, namespace and name. */
export type Objects = ReadonlyMap<string, unknown>;

/** Reads the objects of a manifest, in whatever order. */
export function objectsIn(manifest: string): Objects {
  const all = parseAllDocuments(manifest).flatMap((document) => (document.toJS() as Found | null) ?? []);
  const objects = new Map(
    all.map((each) => {
      const { kind, metadata } = each;
      return [[kind, metadata.namespace ?? '', metadata.name].join(' '), each] as const;
    }),
  );
  if (objects.size !== all.length) throw new Error('an object is there twice');
  return new Map([...objects].toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

/** The real Helm, with folders of its own. */
export class Helm {
  readonly #folder = temporaryFolder();
  readonly #access: readonly string[];
  #files = 0;

  /** `kubeconfig`: of the cluster that it installs to, if any. */
  constructor(t: { readonly after: (end: () => unknown) => void }, kubeconfig?: string) {
    this.#access = kubeconfig === undefined ? [] : ['--kubeconfig', kubeconfig];
    t.after(() => rmSync(this.#folder, { recursive: true }));
  }

  /** Returns what it prints. Throws with what it says if it fails. */
  async run(...args: readonly string[]): Promise<string> {
    if (PROGRAM === undefined) throw new Error('FLATNET_HELM is not set: see scripts/helm');
    const { PATH } = process.env;
    const env = { PATH, HOME: this.#folder };
    const { stdout } = await run(PROGRAM, [...args, ...this.#access], { env, maxBuffer: 1 << 26 });
    return stdout;
  }

  lint(values: Values = {}): Promise<string> {
    return this.run('lint', CHART, '--strict', '--namespace', 'kube-flannel', ...this.#with(values));
  }

  template(values: Values = {}): Promise<string> {
    return this.run('template', ...RELEASE, '--include-crds', ...this.#with(values));
  }

  /** The same from the archive that a repository would have. */
  async packaged(values: Values = {}): Promise<string> {
    const said = await this.run('package', CHART, '--destination', this.#folder);
    const [, archive = ''] = /saved it to: (.*)/.exec(said) ?? [];
    const [release, , ...options] = RELEASE;
    return this.run('template', release, archive, ...options, '--include-crds', ...this.#with(values));
  }

  install(values: Values = {}, ...flags: readonly string[]): Promise<string> {
    return this.run('install', ...RELEASE, ...this.#with(values), ...flags);
  }

  upgrade(values: Values = {}): Promise<string> {
    return this.run('upgrade', ...RELEASE, ...this.#with(values));
  }

  #with(values: Values): readonly string[] {
    const file = join(this.#folder, `${++this.#files}.yaml`);
    writeFileSync(file, JSON.stringify(values));
    return ['--values', file];
  }
}
