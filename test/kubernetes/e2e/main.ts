// Runs upstream's end-to-end cases (scripts/e2e).
import { mkdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { PRESET_NAMES, type PresetName } from '../../../src/lab/network.ts';
import { FOLDER } from '../nodes/switch.ts';
import { startCluster } from './cluster.ts';
import { runCases } from './run.ts';

const ROOT = join(import.meta.dirname, '../../..');

/** Features other than dual stack need clouds, the Internet or kernel modules. */
const LABELS = '!Disruptive && Feature: isSubsetOf {IPv6DualStack}';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    skip: { type: 'string' },
    labels: { type: 'string', default: LABELS },
    preset: { type: 'string', default: 'flannel' },
    backend: { type: 'string' },
    ipv6: { type: 'boolean', default: false },
    'dual-stack': { type: 'boolean', default: false },
    'load-balancers': { type: 'boolean', default: false },
    reference: { type: 'boolean', default: false },
    procs: { type: 'string', default: '4' },
    minutes: { type: 'string', default: '30' },
    output: { type: 'string', default: join(ROOT, 'dist/e2e') },
  },
});
const [focus = 'Networking'] = positionals;
const { preset, backend, ipv6, reference } = values;
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
    reference,
  });
  process.exitCode = await runCases(cluster, {
    ...values,
    built: process.env.FLATNET_E2E ?? '',
    focus,
    output: resolve(values.output),
    signal: interrupt.signal,
  });
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
