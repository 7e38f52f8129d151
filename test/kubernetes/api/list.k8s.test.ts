import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { forEachLimited } from '../../../src/async/each.ts';
import type { KubernetesClient } from '../../../src/kubernetes/api/client.ts';
import { list } from '../../../src/kubernetes/api/list.ts';
import type { KubernetesObject } from '../../../src/kubernetes/api/object.ts';
import { ApiServer, CONFIG_MAPS, forSuite, NAMESPACES, NO_API_SERVER } from '../api-server.ts';
import { Relay } from '../relay.ts';

const COUNT = 5_000;
const nameOf = ({ metadata }: KubernetesObject): string => metadata.name;

describe('lists of a real API server', { skip: NO_API_SERVER }, () => {
  const suite = forSuite();
  let server: ApiServer;
  let admin: KubernetesClient;
  before(async () => {
    // Without a cache, pages come from etcd, whose history can be compacted.
    server = await ApiServer.start(suite, { flags: ['--watch-cache=false'] });
    admin = server.client(suite);
    await admin.create(NAMESPACES, { metadata: { name: 'crowd' } });
    const names = Array.from({ length: COUNT }, (_, i) => `c${i}`);
    await forEachLimited(16, names, async (name) => {
      await admin.create(CONFIG_MAPS, {
        metadata: { namespace: 'crowd', name, labels: { half: name.endsWith('1') ? 'odd' : 'other' } },
        data: { text: `${name} `.repeat(20) },
      });
    });
  });

  test(`${COUNT} objects in pages, compressed, each once`, async (t) => {
    const relay = await Relay.start(server.port);
    t.after(() => relay.close());
    const client = server.client(t, { access: server.access(undefined, relay.url) });
    let size = 0;
    const { items, resourceVersion } = await list(
      client,
      CONFIG_MAPS,
      (object) => {
        size += JSON.stringify(object).length;
        return nameOf(object);
      },
      { namespace: 'crowd' },
    );
    assert.deepEqual([items.length, new Set(items).size], [COUNT, COUNT]);
    assert.match(resourceVersion, /^\d+$/);
    t.diagnostic(`${COUNT} objects of ${size} bytes came in ${relay.received} bytes`);
    assert.ok(relay.received < size / 4);
  });

  test('chosen by label and field by the server, and by what is kept', async () => {
    const odd = await list(admin, CONFIG_MAPS, nameOf, { namespace: 'crowd', labelSelector: 'half=odd' });
    assert.equal(odd.items.length, COUNT / 10);
    const one = await list(admin, CONFIG_MAPS, nameOf, { fieldSelector: 'metadata.name=c17' });
    assert.deepEqual(one.items, ['c17']);
    const none = await list(admin, CONFIG_MAPS, () => undefined, { namespace: 'crowd' });
    assert.deepEqual(none.items, []);
  });

  test('a list whose pages expire halfway begins again, as a whole', async () => {
    let seen = 0;
    let compacted = Promise.resolve();
    const client = Object.create(admin, {
      call: {
        value: async (...call: Parameters<KubernetesClient['call']>) => {
          // The history that the second page belongs to is gone by the third.
          if (seen === 1000) {
            seen++;
            await admin.create(CONFIG_MAPS, { metadata: { namespace: 'crowd', name: 'late' } });
            compacted = server.compact();
            await compacted;
          }
          return admin.call(...call);
        },
      },
    }) as KubernetesClient;
    const keep = (object: KubernetesObject): string => {
      seen++;
      return nameOf(object);
    };
    const { items } = await list(client, CONFIG_MAPS, keep, { namespace: 'crowd', pageSize: 500 });
    assert.deepEqual([items.length, new Set(items).size], [COUNT + 1, COUNT + 1]);
    assert.equal(seen, 1001 + COUNT + 1);
  });
});
