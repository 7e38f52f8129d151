import assert from 'node:assert/strict';
import { NETLINK_NETFILTER, NetlinkSocket } from '../../../src/linux/netlink/socket.ts';
import { readHandovers } from '../../../src/linux/nftables/flowtable.ts';
import { elementOf } from '../../../src/linux/nftables/values/element.ts';
import { SILENT } from '../../../src/log.ts';
import { elementItem } from '../../../src/state/kinds/nft-element.ts';
import type { NftTableItem } from '../../../src/state/kinds/nft-table.ts';
import { Reconciler } from '../../../src/state/reconciler.ts';
import { asOne } from '../../desired/composed.ts';
import { kernelTest, sandbox } from '../../linux/sandbox.ts';

const FAST = { name: 'fast', priority: 'filter' } as const;
const TABLE: NftTableItem = {
  kind: 'nft-table',
  family: 'inet',
  table: 'flatnet-test',
  flowtables: [FAST],
  chains: [
    {
      name: 'forward',
      hook: { type: 'filter', hook: 'forward', priority: 'filter' },
      rules: [{ rule: 'ct state established flow add @fast' }],
    },
  ],
};
const OF = { family: TABLE.family, table: TABLE.table };
const device = (name: string) => elementItem(TABLE, elementOf(FAST, [name]));

kernelTest(
  'devices of a flowtable are added and removed like elements; a new process finds nothing to change',
  async (t) => {
    const box = sandbox(t);
    for (const name of ['d1', 'd2', 'd3']) box.run('ip', 'link', 'add', name, 'type', 'dummy');
    const devices = () => {
      const text = box.run('nft', 'list', 'flowtables');
      return [...text.matchAll(/\bd\d\b/g)].map(String).sort();
    };
    using socket = NetlinkSocket.open(NETLINK_NETFILTER, { netns: box.netns });
    assert.deepEqual(await readHandovers(socket), []);
    using reconciler = new Reconciler({ netns: box.netns, log: SILENT });
    reconciler.allowPrune();
    for (const names of [['d1'], ['d1', 'd2', 'd3'], ['d2'], [], ['d1', 'd3']]) {
      reconciler.setDesired(asOne([TABLE, ...names.map(device)]));
      const { undone } = await reconciler.run();
      assert.deepEqual(undone, []);
      assert.deepEqual(devices(), names);
      const [{ devices: taken = [], ...handover } = assert.fail()] = await readHandovers(socket);
      assert.deepEqual([[...taken].sort(), handover], [names, { table: OF, name: 'fast' }]);
    }
    using again = new Reconciler({ netns: box.netns, log: SILENT });
    again.setDesired(asOne([TABLE, device('d1'), device('d3')]));
    assert.deepEqual((await again.run()).done, []);
  },
);
