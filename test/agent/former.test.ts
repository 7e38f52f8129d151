import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Former } from '../../src/agent/former.ts';
import { desiredState } from '../../src/desired/desired.ts';
import { parseIp } from '../../src/ip/address.ts';
import { parseCidr } from '../../src/ip/cidr.ts';
import type { Contribution } from '../../src/state/contributions.ts';
import type { Item } from '../../src/state/item.ts';
import { factsOf } from '../backends/cluster.ts';

/*
 * A node and its peers, which follow the changes of the network's backend at different times, or not at all.
 * A backend is a device that receives, and a route to each peer with the same backend.
 */

const BACKENDS = ['vxlan', 'host-gw', 'bgp'] as const;
type Backend = (typeof BACKENDS)[number];
const PEERS = 3;

type Step =
  | { readonly the: 'network'; readonly backend: Backend }
  | { readonly the: 'peer'; readonly peer: number }
  | { readonly the: 'wait' };

const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    fc.record({ the: fc.constant('network' as const), backend: fc.constantFrom(...BACKENDS) }),
    fc.record({ the: fc.constant('peer' as const), peer: fc.nat(PEERS - 1) }),
    fc.constant({ the: 'wait' as const }),
  ),
  { maxLength: 25 },
);

const device = (backend: Backend): Item => ({
  kind: 'sysctl',
  path: `net/ipv4/conf/${backend}/forwarding`,
  value: '1',
});
const route = (backend: Backend, peer: number): Item => ({
  kind: 'route',
  dst: parseCidr(`10.0.${peer}.0/24`),
  via: parseIp(`10.0.${peer}.1`),
  dev: backend,
  type: 'unicast',
  protocol: 110,
});

function contributionsOf(backend: Backend, peers: readonly Backend[]): Contribution[] {
  const pod = { owner: { part: 'pod', name: 'default/pod' }, items: [podItem], warnings: [] } as const;
  return [
    { owner: { part: 'backend', name: 'this node' }, items: [device(backend)], warnings: [] },
    pod,
    ...peers.flatMap((its, peer): Contribution[] =>
      its === backend
        ? [{ owner: { part: 'peer', name: `peer${peer}` }, items: [route(backend, peer)], warnings: [] }]
        : [],
    ),
  ];
}

const podItem: Item = { kind: 'sysctl', path: 'net/ipv4/conf/veth1/forwarding', value: '1' };

test('a node receives by every backend that a peer may still send with, and sends to each by its own', () => {
  fc.assert(
    fc.property(steps, (all) => {
      const former = new Former();
      let own: Backend = 'vxlan';
      let formers = new Set<Backend>();
      const peers: Backend[] = Array.from({ length: PEERS }, () => own);
      for (const step of all) {
        switch (step.the) {
          case 'network':
            if (step.backend === own) break;
            former.keep(own, contributionsOf(own, peers));
            formers.add(own);
            own = step.backend;
            formers.delete(own);
            break;
          case 'peer':
            peers[step.peer] = own;
            break;
          case 'wait': {
            // As the handover does after a while.
            const late = new Map(
              peers.flatMap((its, i) => (formers.has(its) ? [[`peer${i}`, its] as const] : [])),
            );
            former.dropPeers(late);
            if (late.size > 0) break;
            former.drop();
            formers = new Set();
          }
        }
        const items = [...contributionsOf(own, peers), ...former.contributions].flatMap((each) => each.items);
        const holds = (item: Item) => items.some((each) => JSON.stringify(each) === JSON.stringify(item));
        peers.forEach((backend, peer) => {
          assert.ok(holds(device(backend)), `receives by ${backend}`);
          assert.ok(holds(route(backend, peer)), `sends to peer${peer} by ${backend}`);
        });
        const routes = former.contributions.flatMap(({ items: kept }) =>
          kept.filter(({ kind }) => kind === 'route'),
        );
        const keys = routes.map((each) => (each.kind === 'route' ? each.dst : ''));
        assert.equal(new Set(keys).size, keys.length, 'one route to each peer');
        assert.ok(
          !former.contributions.some(({ items: kept }) => kept.includes(podItem)),
          'pods may go meanwhile',
        );
      }
    }),
    { numRuns: 500 },
  );
});

test('the contributions stay the same objects until something changes', () => {
  const former = new Former();
  former.keep('vxlan', contributionsOf('vxlan', ['vxlan', 'vxlan']));
  former.keep('host-gw', contributionsOf('host-gw', ['vxlan', 'host-gw']));
  const before = former.contributions;
  assert.equal(former.contributions, before);
  assert.equal(former.dropPeers(new Map([['peer0', 'vxlan']])), true);
  assert.equal(former.dropPeers(new Map([['peer0', 'vxlan']])), false);
  assert.equal(former.drop(), true);
  assert.deepEqual(former.contributions, []);
});

test('nothing is sent through the former backend any more, but its packets are still received', () => {
  const former = new Former();
  const facts = factsOf({ size: 3, families: [4, 6], networks: 1, backend: { Type: 'vxlan' } });
  former.keep('vxlan', desiredState(facts).contributions);
  const kindsOf = (peer: string): string[] => [
    ...new Set(
      former.contributions
        .filter(({ owner }) => owner.name === peer)
        .flatMap(({ items }) => items.map(({ kind }) => kind)),
    ),
  ];
  const whole = ['nft-element', 'fdb', 'neighbour', 'route'];
  assert.deepEqual(kindsOf('node1'), whole);
  const own = kindsOf('this node');
  assert.equal(former.dropPeers(new Map([['node2', 'vxlan']])), true);
  assert.deepEqual(kindsOf('node1'), ['nft-element']);
  assert.deepEqual(kindsOf('node2'), whole);
  assert.equal(former.dropPeers(new Map([['node2', 'vxlan']])), false);
  assert.equal(former.dropPeers(new Map()), true);
  assert.deepEqual(kindsOf('node2'), ['nft-element']);
  assert.deepEqual(kindsOf('this node'), own);
  assert.equal(former.drop(), true);
  assert.equal(former.drop(), false);
});

test('of a backend that nobody knows, what the kernel has is kept, and receives until all is dropped', () => {
  const former = new Former();
  assert.equal(former.prune, true);
  former.keepRemains();
  const mayGo = (item: Item, isOnWanted: boolean): boolean => {
    const { prune } = former;
    return typeof prune === 'function' ? prune(item, isOnWanted) : prune;
  };
  assert.equal(mayGo(route('vxlan', 1), true), false);
  assert.equal(mayGo(podItem, true), true);
  assert.equal(mayGo(podItem, false), false);
  assert.equal(former.dropPeers(new Map([['node1', 'vxlan']])), false);
  assert.equal(mayGo(route('vxlan', 1), false), false);
  assert.equal(former.dropPeers(new Map()), true);
  assert.equal(former.dropPeers(new Map()), false);
  assert.equal(mayGo(route('vxlan', 1), false), true);
  assert.equal(mayGo(device('vxlan'), false), false);
  assert.equal(former.drop(), true);
  assert.equal(former.prune, true);
  assert.equal(former.drop(), false);
});
