import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LabStatus } from '../../src/lab/inspect/status.ts';
import type { PresetName } from '../../src/lab/network.ts';
import { TestLab } from './host.ts';

/** Presets that need a module which many kernels lack: the vm tier runs them. */
export const NEED_MODULES: readonly PresetName[] = ['calico'];

const BOTH = ['--network', '10.244.0.0/16,fd00:244::/56', '--subnets', '2'] as const;
const VARIANTS: readonly (readonly [string, (preset: PresetName) => readonly string[]])[] = [
  ['one subnet', () => []],
  // Pods' own packets need routers that know pods.
  ['both families, two subnets', (preset) => [...BOTH, ...(preset === 'calico-bgp' ? ['--tor'] : [])]],
];

/**
 * Whoever runs `lab status` in a lab that works must not be told otherwise: not right after `up`, with pods,
 * after a node was added or deleted, nor when agents were restarted.
 */
export async function staysHealthy(t: TestContext, preset: PresetName): Promise<void> {
  // An emulated machine takes minutes for each.
  for (const [what, args] of process.env.FLATNET_EMULATED ? VARIANTS.slice(0, 1) : VARIANTS) {
    await t.test(`${preset}, ${what}`, async (t) => {
      const lab = new TestLab(t, 'h');
      const healthy = async (when: string): Promise<void> => {
        const { status, stdout } = await lab.run('status', '--json');
        const { problems, nodes } = JSON.parse(stdout) as LabStatus;
        assert.deepEqual(problems, [], when);
        assert.deepEqual(
          nodes.map(({ agent }) => agent),
          nodes.map(() => 'ready'),
          when,
        );
        assert.equal(status, 0, when);
        assert.match(await lab.ok('status'), /\nno problems found\n$/, when);
      };
      await lab.ok('up', '--preset', preset, '--nodes', '2', ...args(preset));
      await healthy('right after up');
      for (const node of ['node1', 'node2']) {
        await lab.ok('pod', 'create', `p${Math.round(performance.now())}`, '--node', node);
      }
      await healthy('with pods');
      await lab.ok('matrix');
      await lab.ok('node', 'add');
      await healthy('with another node');
      await lab.ok('node', 'restart', 'node2', '--kill');
      await healthy('after restarts');
      await lab.ok('node', 'delete', 'node3');
      await sleep(2000);
      await healthy('after a node was deleted');
    });
  }
}
