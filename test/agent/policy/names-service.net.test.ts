import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FAMILIES, type Ip } from '../../../src/ip/address.ts';
import { netnsPath } from '../../../src/linux/netns.ts';
import { BridgedNode } from '../../policy/bridged-node.ts';
import { RoutedNode } from '../../policy/routed-node.ts';
import { NO_KERNEL } from '../../state/namespace.ts';
import { leadToServices, NamesNode, PARTIES, until } from './names-node.ts';

for (const Node of [RoutedNode, BridgedNode])
  for (const family of FAMILIES)
    test(`${Node.name}, IPv${family}: behind Services, answers are seen, and believed by who gives them`, {
      skip: NO_KERNEL,
    }, async () => {
      await using names = new NamesNode(new Node());
      const { client, other, dns, resolver, second, server, local } = PARTIES[family];
      const services = leadToServices(names, [other, dns, resolver, local]);
      /** Asks a Service for a name, whose endpoint says that it stands for an address. */
      const ask = async (endpoint: Ip, name: string, ip: Ip): Promise<void> => {
        const at = endpoint === local ? netnsPath(names.node.name) : names.node.at(endpoint);
        using _ = names.answering(at, endpoint, name, { owner: name, ip });
        assert.ok(await names.ask(client, services.get(endpoint) ?? endpoint, name), `${endpoint} answers`);
      };
      const of = (ip: Ip): readonly string[] => names.known.find(([known]) => known === ip)?.[1] ?? [];

      // Nobody is there who would learn: names are resolved, and open nothing.
      await names.start();
      await names.stop();
      await ask(dns, 'unseen.example.org', server);
      await names.start();
      assert.equal(await names.reaches(client, server), false);

      await ask(other, 'liar.example.org', server);
      // What is observed arrives in order: once this is known, so is all before.
      await ask(dns, 'seen.example.org', second);
      await until(() => names.reaches(client, second));
      assert.deepEqual([of(second), of(server)], [['seen.example.org'], []]);
      assert.equal(await names.reaches(client, server), false);

      for (const [endpoint, name] of [
        [dns, 'a.example.org'],
        [resolver, 'b.example.org'],
        [local, 'c.example.org'],
      ] as const) {
        await ask(endpoint, name, server);
        await until(() => of(server).includes(name));
      }
      await until(() => names.reaches(client, server));
    });
