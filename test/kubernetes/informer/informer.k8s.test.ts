import assert from 'node:assert/strict';
import { before, describe, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Backoff } from '../../../src/async/backoff.ts';
import { codeOf } from '../../../src/error.ts';
import type { KubernetesClient } from '../../../src/kubernetes/api/client.ts';
import { list } from '../../../src/kubernetes/api/list.ts';
import { asJson, type KubernetesObject } from '../../../src/kubernetes/api/object.ts';
import { Informer, type InformerOptions } from '../../../src/kubernetes/informer/informer.ts';
import { SILENT } from '../../../src/log.ts';
import { eventually } from '../../store/servers.ts';
import { ApiServer, CONFIG_MAPS, CRDS, forSuite, NAMESPACES, NO_API_SERVER } from '../api-server.ts';
import { Authority } from '../pki.ts';
import { Relay } from '../relay.ts';

const textOf = (object: KubernetesObject): string =>
  `${object.metadata.resourceVersion} ${asJson(object.data).value}`;

const versionOf = (text: string): number => Number(text.split(' ')[0]);

/** Follows the events of an informer as a program would, and notes every version it was told of. */
class Follower {
  readonly known = new Map<string, string>();
  readonly versions: string[] = [];
  readonly informer: Informer<string>;
  synced = 0;
  /** Whether versions may only grow. */
  grows = true;
  readonly #stop = new AbortController();
  readonly #following: Promise<void>;

  constructor(
    t: Pick<TestContext, 'after'>,
    options: Partial<InformerOptions<string>> & { client: KubernetesClient },
  ) {
    this.informer = new Informer({
      resource: CONFIG_MAPS,
      reduce: textOf,
      log: SILENT,
      backoff: new Backoff({ first: 20, longest: 300, jitter: 1 }),
      ...options,
    });
    this.#following = this.#follow();
    t.after(() => this.stop());
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#following;
  }

  async #follow(): Promise<void> {
    for await (const event of this.informer.events(this.#stop.signal)) {
      if (event.type === 'synced') {
        this.synced++;
        for (const [key, value] of event.objects) this.known.set(key, value);
      } else {
        assert.equal(event.before, this.known.get(event.key), 'what was before is what was known');
        if (event.type === 'set') {
          if (this.grows && event.before) assert.ok(versionOf(event.before) < versionOf(event.value));
          this.known.set(event.key, event.value);
          this.versions.push(event.value);
        } else assert.ok(this.known.delete(event.key));
      }
      assert.deepEqual(this.known, this.informer.objects);
    }
  }
}

/** Writes at random until stopped, whatever the server does, and notes every version that was confirmed. */
class Writer {
  readonly written: string[] = [];
  readonly #client: KubernetesClient;
  readonly #namespace: string;
  #writing: Promise<void> | undefined;
  #stopped = false;

  constructor(t: Pick<TestContext, 'after'>, client: KubernetesClient, namespace: string) {
    this.#client = client;
    this.#namespace = namespace;
    this.#writing = this.#write();
    t.after(() => this.stop());
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#writing;
  }

  async #write(): Promise<void> {
    for (let i = 0; !this.#stopped; i++) {
      const at = { namespace: this.#namespace, name: `c${Math.floor(Math.random() * 8)}` };
      const data = { value: `${i}` };
      try {
        const dice = Math.random();
        if (dice < 0.3) await this.#client.delete(CONFIG_MAPS, at);
        else if (dice < 0.6) this.#note(await this.#client.create(CONFIG_MAPS, { metadata: at, data }));
        else this.#note(await this.#client.patch(CONFIG_MAPS, at, 'merge', { data }));
      } catch (error) {
        assert.match(
          codeOf(error) ?? '',
          /^(NOT_FOUND|STORE_EXISTS|STORE_UNAVAILABLE|STORE_FORBIDDEN)$/,
          String(error),
        );
      }
      await sleep(3);
    }
  }

  #note(object: KubernetesObject): void {
    this.written.push(textOf(object));
  }
}

/** Waits until the follower knows what the server has. */
async function agree(follower: Follower, client: KubernetesClient, namespace: string): Promise<void> {
  const pair = (object: KubernetesObject) =>
    [`${namespace}/${object.metadata.name}`, textOf(object)] as const;
  const { items } = await list(client, CONFIG_MAPS, pair, { namespace });
  const truth = JSON.stringify([...items].sort());
  await eventually(() => JSON.stringify([...follower.known].sort()) === truth);
}

/** Waits until what changes arrives by a watch, not by a list. */
async function watching(follower: Follower, admin: KubernetesClient, namespace: string): Promise<void> {
  await eventually(() => follower.synced === 1);
  const at = { namespace, name: 'probe' };
  await admin.create(CONFIG_MAPS, { metadata: at, data: { value: 'probe' } });
  await eventually(() => follower.known.has(`${namespace}/probe`));
  await admin.delete(CONFIG_MAPS, at);
  await eventually(() => !follower.known.has(`${namespace}/probe`));
}

describe('an informer on a real API server', { skip: NO_API_SERVER }, () => {
  const suite = forSuite();
  let server: ApiServer;
  let admin: KubernetesClient;
  before(async () => {
    // When it ends, it waits for watches as long as for a request.
    server = await ApiServer.start(suite, { flags: ['--request-timeout=5s'] });
    admin = server.client(suite);
  });

  const namespace = async (name: string): Promise<string> => {
    await admin.create(NAMESPACES, { metadata: { name } });
    return name;
  };

  test('list, synced, then every change in order; only what is kept', async (t) => {
    const at = { namespace: await namespace('plain'), name: 'a' };
    await admin.create(CONFIG_MAPS, { metadata: at, data: { value: '0' } });
    const follower = new Follower(t, { client: server.client(t), namespace: 'plain' });
    await eventually(() => follower.synced === 1 && follower.known.size === 1);
    const writer = new Writer(t, server.client(t), 'plain');
    await sleep(1_500);
    await writer.stop();
    await agree(follower, admin, 'plain');
    assert.deepEqual(follower.versions, writer.written);
    assert.equal(follower.synced, 1);
    assert.equal(follower.informer.problem, undefined);
  });

  test('connections cut again and again: the watch resumes, every change comes exactly once', async (t) => {
    await namespace('cut');
    const relay = await Relay.start(server.port);
    t.after(() => relay.close());
    const client = server.client(t, { access: server.access(undefined, relay.url) });
    const follower = new Follower(t, { client, namespace: 'cut' });
    await eventually(() => follower.synced === 1);
    const writer = new Writer(t, server.client(t), 'cut');
    for (let i = 0; i < 10; i++) {
      await sleep(150);
      relay.cut();
    }
    await writer.stop();
    await agree(follower, admin, 'cut');
    assert.deepEqual(follower.versions, writer.written);
  });

  test('watches that the server ends in order are resumed at once: every change comes exactly once', async (t) => {
    await namespace('ended');
    const relay = await Relay.start(server.port);
    t.after(() => relay.close());
    const client = server.client(t, { access: server.access(undefined, relay.url) });
    // A pause would be longer than we wait.
    const backoff = new Backoff({ first: 120_000, longest: 120_000, jitter: 0 });
    const options = { seconds: 2, lasting: 500, backoff };
    const follower = new Follower(t, { client, namespace: 'ended', ...options });
    await eventually(() => follower.synced === 1);
    const writer = new Writer(t, server.client(t), 'ended');
    await sleep(4_500);
    await writer.stop();
    await eventually(() => follower.versions.length === writer.written.length);
    assert.deepEqual(follower.versions, writer.written);
    assert.equal(follower.informer.problem, undefined);
  });

  test('a connection that stalls, with nobody told, is given up; a server that freezes, too', async (t) => {
    const at = { namespace: await namespace('stalled'), name: 'a' };
    const relay = await Relay.start(server.port);
    t.after(() => relay.close());
    const client = server.client(t, { access: server.access(undefined, relay.url), silence: 1_000 });
    const follower = new Follower(t, { client, namespace: 'stalled', idle: 500 });
    await watching(follower, admin, 'stalled');
    relay.stall();
    await admin.create(CONFIG_MAPS, { metadata: at, data: { value: '1' } });
    await eventually(() => follower.known.size === 1);
    server.signal('SIGSTOP');
    await eventually(() => follower.informer.problem !== undefined);
    assert.match(follower.informer.problem?.reason ?? '', /no answer within 1000 ms/);
    assert.equal(follower.known.size, 1);
    server.signal('SIGCONT');
    await admin.delete(CONFIG_MAPS, at);
    await eventually(() => follower.known.size === 0 && follower.informer.problem === undefined);
  });

  test('a slow server: all comes, late', async (t) => {
    await namespace('slow');
    const relay = await Relay.start(server.port);
    t.after(() => relay.close());
    relay.delay = 700;
    const client = server.client(t, { access: server.access(undefined, relay.url) });
    const follower = new Follower(t, { client, namespace: 'slow' });
    await eventually(() => follower.synced === 1);
    const writer = new Writer(t, server.client(t), 'slow');
    await sleep(500);
    await writer.stop();
    await agree(follower, admin, 'slow');
    // An object that was created and deleted at last makes no difference to what is known.
    await eventually(() => follower.versions.length >= writer.written.length);
    assert.deepEqual(follower.versions, writer.written);
  });

  test('the server killed and started again, with another certificate and another authority: nothing is lost or doubled', async (t) => {
    await namespace('killed');
    const follower = new Follower(t, { client: server.client(t), namespace: 'killed' });
    await eventually(() => follower.synced === 1);
    const writer = new Writer(t, server.client(t), 'killed');
    await sleep(300);
    await server.kill('SIGKILL');
    await eventually(() => follower.informer.problem !== undefined);
    await server.launch();
    await sleep(500);
    await server.kill('SIGTERM');
    await server.launch(server.authority.server());
    await sleep(500);
    await server.kill('SIGKILL');
    await server.replaceAuthority(new Authority(server.folder, 'ca2'));
    await sleep(500);
    await writer.stop();
    await agree(follower, server.client(t), 'killed');
    assert.equal(new Set(follower.versions).size, follower.versions.length, 'no change is delivered twice');
    assert.equal(follower.synced, 1);
    await eventually(() => follower.informer.problem === undefined);
  });
});

describe('an informer of a kind that is not there yet', { skip: NO_API_SERVER }, () => {
  test('it says what is missing, and begins once that is there; an object that cannot be read ends nothing', async (t) => {
    const server = await ApiServer.start(t);
    const admin = server.client(t);
    const resource = {
      group: 'flatnet.dev',
      version: 'v1',
      plural: 'things',
      kind: 'Thing',
      namespaced: false,
    };
    const reduce = ({ metadata }: KubernetesObject): string => {
      if (metadata.name === 'bad') throw new Error('cannot be read');
      return metadata.name;
    };
    const informer = new Follower(t, { client: server.client(t), resource, reduce });
    informer.grows = false;
    await eventually(() => informer.informer.problem !== undefined);
    assert.match(
      informer.informer.problem?.reason ?? '',
      /install the CustomResourceDefinition things\.flatnet\.dev/,
    );
    await admin.create(CRDS, {
      metadata: { name: 'things.flatnet.dev' },
      spec: {
        group: 'flatnet.dev',
        scope: 'Cluster',
        names: { plural: 'things', singular: 'thing', kind: 'Thing', listKind: 'ThingList' },
        versions: [
          { name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object' } } },
        ],
      },
    });
    await eventually(() => informer.synced === 1 && informer.informer.problem === undefined);
    for (const name of ['bad', 'good']) await admin.create(resource, { metadata: { name } });
    await eventually(() => informer.known.size === 1);
    assert.deepEqual([...informer.known.keys()], ['good']);
  });
});

describe('an informer, when history has been compacted', { skip: NO_API_SERVER }, () => {
  test('410: it lists again and tells the differences; what was undone meanwhile is not told', async (t) => {
    const server = await ApiServer.start(t, { flags: ['--watch-cache=false'] });
    const admin = server.client(t);
    const relay = await Relay.start(server.port);
    t.after(() => relay.close());
    const at = (name: string) => ({ namespace: 'default', name });
    for (const name of ['stays', 'goes', 'changes'])
      await admin.create(CONFIG_MAPS, { metadata: at(name), data: { value: name } });
    const access = server.access(undefined, relay.url);
    const follower = new Follower(t, {
      client: server.client(t, { access }),
      namespace: 'default',
      idle: 2_000,
    });
    await watching(follower, admin, 'default');
    relay.stall();
    await admin.delete(CONFIG_MAPS, at('goes'));
    await admin.patch(CONFIG_MAPS, at('changes'), 'merge', { data: { value: 'changed' } });
    await admin.create(CONFIG_MAPS, { metadata: at('comes'), data: { value: 'new' } });
    await admin.create(CONFIG_MAPS, { metadata: at('flash') });
    await admin.delete(CONFIG_MAPS, at('flash'));
    await server.compact();
    await agree(follower, admin, 'default');
    const names = follower.versions.map((each) => each.split(' ')[1]);
    assert.deepEqual(names.sort(), ['changed', 'new', 'probe']);
    assert.equal(follower.synced, 1);
  });

  test('etcd restored from a backup: versions go back, and the informer notices', async (t) => {
    const server = await ApiServer.start(t);
    const admin = server.client(t);
    const at = { namespace: 'default', name: 'a' };
    await admin.create(CONFIG_MAPS, { metadata: at, data: { value: 'backed up' } });
    const follower = new Follower(t, { client: server.client(t), namespace: 'default', idle: 1_000 });
    follower.grows = false;
    await eventually(() => follower.synced === 1);
    await server.restoring(async () => {
      for (let i = 0; i < 50; i++)
        await admin.patch(CONFIG_MAPS, at, 'merge', { data: { value: `lost ${i}` } });
      await eventually(() => follower.known.get('default/a')?.endsWith('lost 49'));
    });
    await agree(follower, server.client(t), 'default');
    assert.match(follower.known.get('default/a') ?? '', /backed up/);
  });
});
