import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Facts } from '../../src/agent/facts.ts';
import { DEFAULT_PATHS } from '../../src/agent/options.ts';
import { followPolicies, hearOfPackets } from '../../src/agent/policies.ts';
import type { PolicyLog } from '../../src/agent/policy/log.ts';
import { aborted, nextTurn } from '../../src/async/pause.ts';
import { type Network, readNetwork } from '../../src/cluster/network.ts';
import type { PolicyView } from '../../src/policy/model/view.ts';
import type { PodRegistry, PolicyFeed } from '../../src/store/ports/policies.ts';
import { tunnelMacsOf } from '../backends/tunnel-macs.ts';

function factsOfNode(): Facts {
  const options = { node: 'n', labels: {}, store: { endpoints: [] }, paths: DEFAULT_PATHS };
  return new Facts({ ...options, logLevel: 'silent' }, tunnelMacsOf('n'), []);
}

function network(policy: boolean | object): Network {
  return readNetwork({ Network: '10.0.0.0/16', Backend: { Type: 'vxlan' }, policy });
}

test('views are facts while the network wants policies enforced, and are watched anew after a break', async () => {
  const facts = factsOfNode();
  const feed = new FakeFeed();
  const end = new AbortController();
  const following = followPolicies(facts, { policies: feed }, end.signal);
  assert.equal(facts.policy.areServed, true);
  assert.equal(feed.watches, 0, 'nobody wants them yet');
  facts.setNetwork(network(true));
  await feed.turn();
  assert.equal(feed.watches, 1);
  for (const view of [viewOf(), viewOf()]) {
    feed.show(view);
    await feed.turn();
    assert.equal(facts.policy.view, view);
  }
  facts.setNetwork(network(false));
  await feed.turn();
  assert.equal(facts.policy.view, undefined);
  facts.setNetwork(network(true));
  await feed.turn();
  assert.equal(feed.watches, 2);
  assert.equal(facts.policy.view, undefined, 'what was last known is not known to hold');
  const view = viewOf();
  feed.show(view);
  await feed.turn();
  end.abort();
  await following;
  assert.equal(facts.policy.view, view, 'what an agent that ends knows stays');
  assert.equal(feed.watching, 0);
});

test('the store is told of pods while policies are wanted, and the node’s name is its own', async () => {
  const facts = factsOfNode();
  const feed = new FakeFeed();
  const said: (readonly string[] | undefined)[] = [];
  const registry: PodRegistry = {
    keep: (node, pods, signal) => {
      const changed = (): void => {
        said.push(signal.aborted ? ['late'] : pods()?.pods.map(({ name }) => `${node}: ${name}`));
      };
      changed();
      return changed;
    },
  };
  const end = new AbortController();
  const following = followPolicies(facts, { policies: feed, pods: registry }, end.signal);
  const pod = { containerId: 'c', ifName: 'eth0', netns: '', addresses: [], labels: {}, namespace: 'shop' };
  facts.pods.add({ ...pod, name: 'web' });
  facts.setNetwork(network(true));
  await feed.turn();
  facts.pods.add({ ...pod, containerId: 'd', name: 'db' });
  assert.deepEqual(said, [undefined, undefined]);
  facts.confirmSubnets([]);
  facts.setHost(facts.host);
  facts.pods.remove(pod);
  // One that the runtime has not named is nobody’s.
  facts.pods.add({ ...pod, containerId: 'e', namespace: '' });
  assert.deepEqual(said.slice(2), [['n: web', 'n: db'], ['n: db'], ['n: db']]);
  facts.setNetwork(network(false));
  await feed.turn();
  facts.pods.add({ ...pod, name: 'late' });
  assert.equal(said.length, 5);
  end.abort();
  await following;
});

test('the group of NFLOG is the network’s once that is known; an agent that stops leaves it', async () => {
  const facts = factsOfNode();
  const listen: PolicyLog['listen'] = async (_, signal, changed) => {
    changed(true);
    await aborted(signal);
  };
  const stop = new AbortController();
  const done = hearOfPackets(facts, { listen } as PolicyLog, stop.signal);
  const become = async (policy: boolean | object): Promise<number | undefined> => {
    facts.setNetwork(network(policy));
    await nextTurn();
    return facts.policy.logGroup;
  };
  assert.equal(await become(false), undefined);
  assert.equal(await become({ logGroup: 7 }), 7);
  assert.equal(await become({ logGroup: 8, logDenied: true }), 8);
  assert.equal(await become({ logGroup: 8 }), 8);
  assert.equal(await become(false), undefined);
  assert.equal(await become(true), 26_220);
  stop.abort();
  await done;
  assert.equal(facts.policy.logGroup, 26_220);
});

function viewOf(): PolicyView {
  return { tiers: [], pods: new Map(), others: [], problems: [] };
}

class FakeFeed implements PolicyFeed {
  readonly problems = [];
  watches = 0;
  watching = 0;
  readonly #views: PolicyView[] = [];
  #news = Promise.withResolvers<void>();

  show(view: PolicyView): void {
    this.#views.push(view);
    this.#news.resolve();
  }

  async turn(): Promise<void> {
    for (let i = 0; i < 3; i++) await nextTurn();
  }

  async *watch(signal: AbortSignal): AsyncIterable<PolicyView> {
    this.watches++;
    this.watching++;
    signal.addEventListener('abort', () => this.#news.resolve());
    while (!signal.aborted) {
      this.#news = Promise.withResolvers<void>();
      yield* this.#views.splice(0);
      if (!signal.aborted) await this.#news.promise;
    }
    this.watching--;
  }
}
