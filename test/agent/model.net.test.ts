import { test } from 'node:test';
import { Fate } from './acts.ts';
import { Cluster, type TestNode } from './cluster.ts';
import { NETWORKS } from './networks.ts';
import { Random } from './random.ts';
import { settled } from './settle.ts';

/** `FLATNET_SEED` repeats a run, `FLATNET_STEPS` sets the number of steps. */
const SEED = Number(process.env.FLATNET_SEED ?? Math.floor(Math.random() * 2 ** 32));
const STEPS = Number(process.env.FLATNET_STEPS ?? 25);

/** Dual stack includes what one family alone does. */
const { vxlan: _, ...DIFFERENT } = NETWORKS;

for (const [name, conf] of Object.entries(DIFFERENT)) {
  test(`whatever happens to a cluster, it converges to its facts (${name})`, async (t) => {
    t.diagnostic(`FLATNET_SEED=${SEED} FLATNET_STEPS=${STEPS}`);
    await using cluster = await Cluster.up(3, conf);
    const fate = new Fate(cluster, new Random(SEED));
    await settled(cluster);
    for (let step = 1; step <= STEPS; step++) {
      const story: string[] = [];
      try {
        await fate.step((act) => story.push(act));
        await settled(cluster);
      } catch (error) {
        for (const node of cluster.nodes.values()) t.diagnostic(portrait(cluster, node));
        throw new Error(`FLATNET_SEED=${SEED}, step ${step}: ${story.join('; ')}`, { cause: error });
      }
    }
  });
}

/** The node's state, for diagnosis. */
function portrait(cluster: Cluster, node: TestNode): string {
  // Not every network has the device.
  const look = 'ip -br addr; ip -4 route; ip neigh; ip -s link show flannel.1 || true';
  const pods = node.pods.map(({ record }) => cluster.podNetns(record));
  const inside = pods.map(
    (netns) => `echo ${netns}; ip -n ${netns} -br addr; ip -n ${netns} route; ip -n ${netns} neigh`,
  );
  const kernel = cluster.run(node, 'sh', '-c', [look, ...inside].join('; '));
  return [`${node.name}:`, kernel, ...cluster.log(node).split('\n').slice(-30)].join('\n');
}
