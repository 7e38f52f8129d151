import assert from 'node:assert/strict';
import { test } from 'node:test';
import { servedHere } from '../../src/agent/served.ts';
import { parseIp } from '../../src/ip/address.ts';
import { serversAt } from '../../src/store/open.ts';

const HOST = { addresses: ['172.30.0.11', 'fd77::11'].map(parseIp) };

async function ports(...endpoints: string[]): Promise<number[]> {
  return servedHere(serversAt(endpoints), HOST, 'node1').map(({ first }) => first);
}

test('the ports of the store are a node’s own where its endpoints name the node', async () => {
  assert.deepEqual(await ports('http://172.30.0.11:2379', 'http://172.30.0.12:2380'), [2379]);
  assert.deepEqual(await ports('https://[fd77::11]:2379', 'https://[fd77::12]:2380'), [2379]);
  assert.deepEqual(
    await ports('http://127.0.0.1:2379', 'https://localhost:6443', 'https://node1'),
    [2379, 6443, 443],
  );
  assert.deepEqual(await ports('http://[::1]:1', 'http://127.0.0.1:1', 'http://node12:2'), [1]);
  assert.deepEqual(await ports('unix:/run/flatnet/store.sock'), []);
});
