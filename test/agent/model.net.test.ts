import { test } from 'node:test';
import { Fate } from './acts.ts';
import { Cluster } from './cluster.ts';
import { NETWORKS } from './networks.ts';
import { Random } from './random.ts';
import { settled } from './settle.ts';

/** `FLATNET_SEED` runs the same steps again, `FLATNET_STEPS` more or fewer of them. */
const SEED = Number(process.env.FLATNET_SEED ?? Math.floor(Math.random() * 2 ** 32));
const STEPS = Number(process.env.FLATNET_STEPS ?? 70);

for (const [name, conf] of Object.entries(NETWORKS)) {
  test(`whatever happens to a cluster, it becomes what its facts call for (${name})`, async (t) => {
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
        if (process.env.FLATNET_SEED) {
          for (const node of cluster.nodes.values())
            t.diagnostic(`${node.name}:\n${tail(cluster.log(node))}`);
        }
        throw new Error(`FLATNET_SEED=${SEED}, step ${step}: ${story.join('; ')}`, { cause: error });
      }
    }
  });
}

function tail(log: string): string {
  return log.split('\n').slice(-25).join('\n');
}
