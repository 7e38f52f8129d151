import assert from 'node:assert/strict';
import { test } from 'node:test';
import { netnsPath } from '../../../src/linux/netns.ts';
import { NO_KERNEL } from '../../state/namespace.ts';
import { CLIENT, LOCAL, leadToServices, NamesNode, PARTIES, RESOLVER, SECOND, SERVER } from './names-node.ts';

test('what an answer opens is open before the pod has the answer', {
  skip: NO_KERNEL,
  timeout: 480_000,
}, async () => {
  await using names = new NamesNode();
  await names.start();
  assert.equal(names.observed, 'held');
  assert.deepEqual(names.watch?.problems, []);
  const record = (owner: string, ip = SERVER) => ({ owner, ip });
  assert.equal(await names.reaches(CLIENT, SERVER), false);
  {
    using _ = names.answering(names.node.at(RESOLVER), RESOLVER, 'a.example.org', record('a.example.org'));
    assert.ok(await names.ask(CLIENT, RESOLVER, 'a.example.org'));
    assert.equal(await names.reaches(CLIENT, SERVER), true);
  }
  // From the node itself, and by an address that is known by another name already.
  {
    const records = [record('b.example.org'), record('b.example.org', SECOND)];
    using _ = names.answering(netnsPath(names.node.name), LOCAL, 'b.example.org', ...records);
    assert.ok(await names.ask(CLIENT, LOCAL, 'b.example.org'));
    assert.equal(await names.reaches(CLIENT, SECOND), true);
  }
  // Behind a Service, over IPv6.
  {
    const { client, dns, server } = PARTIES[6];
    const service = leadToServices(names, [dns]).get(dns) ?? assert.fail();
    const aaaa = { owner: 'e.example.org', ip: server };
    using _ = names.answering(names.node.at(dns), dns, 'e.example.org', aaaa);
    assert.equal(await names.reaches(client, server), false);
    assert.ok(await names.ask(client, service, 'e.example.org'));
    assert.equal(await names.reaches(client, server), true);
  }
  // An agent that cannot apply what it learns holds no answer for long, and one that is gone none at all.
  names.isStuck = true;
  {
    using _ = names.answering(names.node.at(RESOLVER), RESOLVER, 'c.example.org', record('c.example.org'));
    assert.ok(await names.ask(CLIENT, RESOLVER, 'c.example.org'));
  }
  await names.stop();
  using _ = names.answering(names.node.at(RESOLVER), RESOLVER, 'd.example.org', record('d.example.org'));
  assert.ok(await names.ask(CLIENT, RESOLVER, 'd.example.org'));
  assert.equal(
    names.known.some(([, all]) => all.includes('d.example.org')),
    false,
  );
});
