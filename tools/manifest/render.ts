import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';

const ROOT = join(import.meta.dirname, '../..');
const CHART = join(ROOT, 'deploy/helm/flatnet');

const HEAD = `# flatnet on Kubernetes: 'kubectl apply -f deploy/flatnet.yaml', see docs/deployment.md.
# Rendered from deploy/helm/flatnet by scripts/manifest: change it there.
`;

type Values = { readonly [name: string]: unknown };

/** As Helm: objects are merged, anything else is replaced, and `null` removes what is there. */
function merged(own: Values, other: Values): Values {
  const all = Object.entries(other).map(([name, value]) => {
    const before = own[name];
    return [name, isValues(before) && isValues(value) ? merged(before, value) : value] as const;
  });
  const both = { ...own, ...Object.fromEntries(all) };
  return Object.fromEntries(Object.entries(both).filter(([, value]) => value !== null));
}

function isValues(value: unknown): value is Values {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Returns the chart's objects as one text, with other values than the chart's own where given. */
export function renderManifest(other: Values = {}): string {
  const folder = mkdtempSync(join(tmpdir(), 'flatnet-manifest-'));
  try {
    const values = parse(readFileSync(join(CHART, 'values.yaml'), 'utf8')) as Values;
    const file = join(folder, 'values.json');
    writeFileSync(file, JSON.stringify(merged({ ...values, createNamespace: true }, other)));
    const templates = ['namespace', 'rbac', 'policy', 'configmap', 'daemonset', 'bird'];
    const crds = readdirSync(join(CHART, 'crds')).sort();
    const paths = [
      ...templates.slice(0, 1).map((name) => join(CHART, 'templates', `${name}.yaml`)),
      ...crds.map((name) => join(CHART, 'crds', name)),
      ...templates.slice(1).map((name) => join(CHART, 'templates', `${name}.yaml`)),
    ];
    const argv = ['run', join(ROOT, 'tools/manifest/main.go'), CHART, file, ...paths];
    return HEAD + execFileSync('go', argv, { encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

if (process.argv[1] === import.meta.filename) {
  const [, , other] = process.argv;
  if (other === undefined) writeFileSync(join(ROOT, 'deploy/flatnet.yaml'), renderManifest());
  else process.stdout.write(renderManifest(parse(readFileSync(other, 'utf8')) as Values));
}
