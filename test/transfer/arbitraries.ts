import fc from 'fast-check';
import { checkPools } from '../../src/cluster/calico/change.ts';
import { poolsOf } from '../../src/cluster/calico/decode.ts';
import { type Document, titleOf } from '../../src/cluster/calico/document.ts';
import { isLabelKey, isLabelValue } from '../../src/cluster/labels.ts';
import { type Network, networkToNetConf } from '../../src/cluster/network.ts';
import type { Node } from '../../src/cluster/node.ts';
import { FAMILIES } from '../../src/ip/address.ts';
import { nthIp, parseCidr } from '../../src/ip/cidr.ts';
import { newBlock, release, take } from '../../src/ipam/blocks/block.ts';
import { type Affinity, type Block, DEFAULT_IPAM_CONFIG } from '../../src/store/ports/blocks.ts';
import { type Contents, plain } from '../../src/transfer/contents.ts';
import { resources } from '../cluster/calico/arbitraries.ts';
import { BLOCKS, DUAL, facts, LEASES } from '../store/ports/facts.ts';

const NODES = 5;

const words = fc.stringMatching(/^[a-z]{1,8}$/);

function nodesOf(network: Network): fc.Arbitrary<Node[]> {
  const one = fc.record({
    labels: fc.dictionary(words, words, { maxKeys: 3 }),
    vni: fc.nat(100),
    slot: fc.nat(9),
  });
  return fc.array(one, { maxLength: NODES }).map((all) =>
    all.map(({ labels, vni, slot }, i): Node => {
      const dual = network.pools[6] !== undefined && i % 2 === 0;
      const self = facts(i + 1, { dual, labels: { ...labels } });
      const families = FAMILIES.filter((family) => self.addresses[family] !== undefined);
      const subnets = families.flatMap((family) => {
        const pool = network.pools[family];
        if (!pool || network.addresses === 'blocks') return [];
        const size = 1n << BigInt((family === 4 ? 32 : 128) - pool.subnetLength);
        return [parseCidr(`${nthIp(pool.cidr, BigInt(1 + i * 10 + slot) * size)}/${pool.subnetLength}`)];
      });
      const data = Object.fromEntries(families.map((family) => [family, { VNI: vni }]));
      return { ...self, subnets, backend: { type: network.backend.type, data } };
    }),
  );
}

const blocks: fc.Arbitrary<Block[]> = fc
  .uniqueArray(fc.record({ slot: fc.nat(20), six: fc.boolean(), node: fc.nat(NODES) }), {
    selector: ({ slot, six }) => `${slot} ${six}`,
    maxLength: 6,
  })
  .chain((all) => fc.tuple(...all.map(blockAt)));

function blockAt({ slot, six, node }: { slot: number; six: boolean; node: number }): fc.Arbitrary<Block> {
  const cidr = six ? parseCidr(`fd00:5::${slot.toString(16)}00/122`) : parseCidr(`10.5.${slot}.64/26`);
  const uses = fc.uniqueArray(fc.nat(63), { maxLength: 8 });
  return fc.tuple(uses, fc.nat(NODES), fc.boolean()).map(([ordinals, user, named]) => {
    const taken = ordinals.reduce(
      (block, ordinal, i) => {
        const node = `node${i % 2 === 0 ? user : block.node.slice(4)}`;
        const owner = {
          handle: `net.${cidr}/${ordinal}-${node}.eth0`,
          node,
          ...(named && { pod: 'web', namespace: 'shop' }),
        };
        return take(block, ordinal, owner, 1_700_000_100 + i);
      },
      newBlock(cidr, `node${node}`, 1_700_000_000),
    );
    return release(taken, ordinals.slice(5), 1_700_000_200);
  });
}

const config = fc.record(
  {
    strictAffinity: fc.boolean(),
    autoAllocateBlocks: fc.boolean(),
    maxBlocksPerHost: fc.integer({ min: 1, max: 50 }),
    cooldown: fc.nat(100),
  },
  { noNullPrototype: true },
);

/** Contents as `exportStore` could have read them. */
export const contents: fc.Arbitrary<Contents> = fc.constantFrom(LEASES, DUAL, BLOCKS).chain((network) =>
  fc
    .record({
      nodes: nodesOf(network),
      resources: fc
        .array(resources, { maxLength: 8 })
        .map((all) => lawful(all.map(({ document }) => plain(document)))),
      config,
      isConfigured: fc.boolean(),
      blocks,
      pending: fc.nat(6),
    })
    .map(({ nodes, config, isConfigured, pending, ...rest }) => ({
      ...rest,
      nodes,
      network: JSON.parse(networkToNetConf(network)) as unknown,
      config: isConfigured ? config : DEFAULT_IPAM_CONFIG,
      affinities: rest.blocks.map(({ node, cidr }, i): Affinity => {
        return { node, cidr, state: i === pending ? 'pending' : 'confirmed' };
      }),
    })),
);

/** One of each name, with labels that every store takes, and no pool that overlaps another. */
function lawful(documents: readonly Document[]): Document[] {
  const kept: Document[] = [];
  for (const document of documents) {
    if (kept.some((other) => titleOf(other) === titleOf(document))) continue;
    const labels = Object.entries(document.metadata.labels ?? {});
    if (!labels.every(([key, value]) => isLabelKey(key) && isLabelValue(value))) continue;
    try {
      checkPools(poolsOf([...kept, document]), { pools: [], nodes: [] });
      kept.push(document);
    } catch {
      // Overlaps.
    }
  }
  return kept;
}
