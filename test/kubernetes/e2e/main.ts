// Runs upstream's end-to-end cases (scripts/e2e).
import { mkdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { PRESET_NAMES, type PresetName } from '../../../src/lab/network.ts';
import { FOLDER } from '../nodes/switch.ts';
import { startCluster } from './cluster.ts';
import { runConformance } from './conformance.ts';
import { runCases } from './run.ts';

const ROOT = join(import.meta.dirname, '../../..');

/** Other features need clouds, the Internet or kernel modules. */
const FEATURES = ['IPv6DualStack'];
/** Those of cases about policies. */
const POLICY_FEATURES = ['NetworkPolicy', 'SCTPConnectivity'];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    skip: { type: 'string' },
    labels: { type: 'string' },
    preset: { type: 'string', default: 'flannel' },
    backend: { type: 'string' },
    ipv6: { type: 'boolean', default: false },
    'dual-stack': { type: 'boolean', default: false },
    'load-balancers': { type: 'boolean', default: false },
    policy: { type: 'boolean', default: false },
    conformance: { type: 'boolean', default: false },
    reference: { type: 'boolean', default: false },
    procs: { type: 'string', default: '4' },
    minutes: { type: 'string', default: '30' },
    output: { type: 'string', default: join(ROOT, 'dist/e2e') },
  },
});
const { preset, backend, ipv6, reference, conformance } = values;
const policy = values.policy || conformance;
const [focus = conformance ? '.' : policy ? 'Netpol' : 'Networking'] = positionals;
const features = [...FEATURES, ...(policy ? POLICY_FEATURES : [])];
if (!isPreset(preset)) throw new Error(`--preset is one of ${PRESET_NAMES.join(', ')}`);

const interrupt = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => interrupt.abort());

const ends: (() => unknown)[] = [];
ends.push(() => rmSync(FOLDER, { recursive: true, force: true }));
mkdirSync(FOLDER, { recursive: true });
try {
  const cluster = await startCluster({
    life: { after: (end) => void ends.push(end), signal: interrupt.signal },
    built: process.env.FLATNET_E2E ?? '',
    preset,
    backend,
    families: values['dual-stack'] ? [4, 6] : [ipv6 ? 6 : 4],
    loadBalancers: values['load-balancers'],
    policy,
    reference,
  });
  const options = {
    labels: `!Disruptive && Feature: isSubsetOf {${features.join(', ')}}`,
    ...values,
    built: process.env.FLATNET_E2E ?? '',
    focus,
    output: resolve(values.output),
    signal: interrupt.signal,
  };
  process.exitCode = await (conformance ? runConformance : runCases)(cluster, options);
} catch (error) {
  process.exitCode = 1;
  if (!interrupt.signal.aborted) console.error(error);
} finally {
  if (interrupt.signal.aborted) {
    process.exitCode = 1;
    console.error('e2e: interrupted');
  }
  for (const end of ends.reverse()) {
    try {
      await end();
    } catch (error) {
      process.exitCode = 1;
      console.error(error);
    }
  }
}

function isPreset(name: string): name is PresetName {
  return PRESET_NAMES.some((preset) => preset === name);
}
