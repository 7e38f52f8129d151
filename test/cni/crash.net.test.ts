import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import type { WiringName } from '../../src/cluster/wiring.ts';
import { eventually, Host, leftovers, must, Pod, pings, request } from './host.ts';

const AGENT = join(import.meta.dirname, 'crashing-agent.ts');

/**
 * Runs one call in an agent that is killed at the call's `step`th step; returns the number of steps if it
 * finished.
 */
function crash(host: Host, step: number, command: string, pod: Pod, wiring: WiringName): number | 'killed' {
  const input = JSON.stringify(request(command, { pod, env: POD }));
  const args = [
    ...process.execArgv.filter((arg) => !arg.startsWith('--test')),
    AGENT,
    host.dir,
    host.netns,
    `${step}`,
    input,
    wiring,
  ];
  const { stdout, stderr, signal } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 20_000 });
  if (signal === 'SIGKILL') return 'killed';
  assert.equal(stderr, '');
  return Number(stdout);
}

const POD = { CNI_ARGS: 'IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0' };

/** The events on which the next agent repairs; after each, nothing may be left and a new pod must work. */
const REPAIRS: Record<string, (host: Host, pod: Pod) => Promise<void>> = {
  'the agent’s start': async (host) => {
    await host.service.collectGarbage();
  },
  'a DEL': async (host, pod) => {
    await must(host, 'DEL', { pod });
  },
  'a GC': async (host) => {
    await must(host, 'GC', { conf: { 'cni.dev/valid-attachments': [] } });
  },
  'an ADD': async (host, pod) => {
    await must(host, 'ADD', { pod, env: POD });
    assert.ok(pings(host.netns, [...host.pods.values()][0]?.addresses[0] ?? ''));
    await must(host, 'DEL', { pod });
  },
};

async function repaired(
  host: Host,
  pod: Pod,
  repair: (host: Host, pod: Pod) => Promise<void>,
): Promise<void> {
  const next = restarted(host);
  try {
    await repair(next, pod);
    await eventually('nothing is left', () => leftovers(next).length === 0);
    assert.deepEqual(next.warnings, []);
    await must(next, 'ADD', { pod, env: POD });
    await must(next, 'DEL', { pod });
  } finally {
    await next.stop();
  }
}

function restarted({ dir, netns, context }: Host): Host {
  return new Host({ dir, netns, ...(context.wiring && { wiring: context.wiring }) });
}

/** Whether a starting agent finds nothing to repair. */
async function isComplete(host: Host): Promise<boolean> {
  const next = restarted(host);
  try {
    const before = leftovers(next).length;
    await next.service.collectGarbage();
    return leftovers(next).length === before && before > 0;
  } finally {
    await next.stop();
  }
}

for (const wiring of ['bridge', 'routed'] as const) {
  test(`${wiring}: ADD killed between any two steps is repaired`, { timeout: 60_000 }, async (t) => {
    for (const [what, repair] of Object.entries(REPAIRS)) {
      await t.test(`by ${what}`, async () => {
        for (let step = 1; ; step++) {
          await using host = new Host({ wiring });
          using pod = new Pod();
          const steps = crash(host, step, 'ADD', pod, wiring);
          // A complete attachment stays: only the runtime may remove it.
          if (steps !== 'killed') {
            assert.ok(step > 5, `${steps} steps`);
            break;
          }
          if ((await isComplete(host)) && what !== 'a DEL' && what !== 'a GC') continue;
          await repaired(host, pod, repair);
        }
      });
    }
  });

  test(`${wiring}: DEL killed between any two steps is repaired`, { timeout: 60_000 }, async (t) => {
    for (const [what, repair] of Object.entries(REPAIRS)) {
      await t.test(`by ${what}`, async () => {
        for (let step = 1; ; step++) {
          await using host = new Host({ wiring });
          using pod = new Pod();
          await must(host, 'ADD', { pod, env: POD });
          await host.stop();
          const steps = crash(host, step, 'DEL', pod, wiring);
          if (steps !== 'killed') {
            assert.ok(step > 3, `${steps} steps`);
            break;
          }
          await repaired(host, pod, repair);
        }
      });
    }
  });
}
