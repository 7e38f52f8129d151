import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { extension } from '../../../src/backends/extension.ts';
import { Fields } from '../../../src/cluster/fields.ts';
import { readNetwork } from '../../../src/cluster/network.ts';
import type { Node, Self } from '../../../src/cluster/node.ts';
import { NO_RESOURCES } from '../../../src/cluster/resources.ts';
import { Companions } from '../../../src/companions/companions.ts';
import { Records } from '../../../src/companions/extension/records.ts';
import { runCommand } from '../../../src/companions/extension/run-command.ts';
import { COMPANIONS } from '../../../src/companions/registry.ts';
import { parseIp } from '../../../src/ip/address.ts';
import { parseCidr } from '../../../src/ip/cidr.ts';
import { SILENT } from '../../../src/log.ts';
import { tunnelMacsOf } from '../../backends/tunnel-macs.ts';
import { eventually } from '../../store/servers.ts';

const EXTENSION = COMPANIONS.filter(({ backend }) => backend === 'extension');

function nodeOf(n: number, data: unknown = `data of ${n}`): Node {
  return {
    name: `node${n}`,
    labels: {},
    addresses: { 4: parseIp(`192.0.2.${n}`) },
    subnets: [parseCidr(`10.244.${n}.0/24`)],
    backend: { type: 'extension', data: { 4: data } },
  };
}

const SELF: Self = {
  node: nodeOf(1),
  underlay: { dev: 'eth0', mtu: 1500, addresses: { 4: parseIp('192.0.2.1') }, onLink: [] },
  tunnelMacs: tunnelMacsOf('node1'),
};

/** A node's folder, and the companions of one agent after another. `log`: what commands have appended. */
class Site {
  readonly folder = mkdtempSync(join(tmpdir(), 'flatnet-extension-'));
  readonly #t: TestContext;

  constructor(t: TestContext) {
    this.#t = t;
    t.after(() => rmSync(this.folder, { recursive: true, force: true }));
  }

  get log(): readonly string[] {
    const path = join(this.folder, 'log');
    return existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n') : [];
  }

  /** How many nodes are recorded as added. */
  get added(): number {
    return [...new Records(join(this.folder, 'extension')).leases().values()].filter(({ done }) => done)
      .length;
  }

  /** A program that appends its arguments and standard input to the log, if `script` does not end it. */
  program(name: string, script = ''): string {
    const path = join(this.folder, name);
    const text = `#!/bin/sh\n${script}\nread -r line\necho "${name} $* <$line>" >>${this.folder}/log\n`;
    writeFileSync(path, text, { mode: 0o755 });
    return path;
  }

  async agent(allowExtension = true): Promise<Agent> {
    const stop = new AbortController();
    const companions = new Companions(
      {
        node: 'node1',
        paths: { run: this.folder, state: this.folder },
        secrets: '',
        assigner: {} as never,
        allowExtension,
        log: SILENT,
        signal: stop.signal,
      },
      EXTENSION,
    );
    await companions.use('extension');
    const agent = new Agent(companions, stop);
    this.#t.after(() => agent[Symbol.asyncDispose]());
    return agent;
  }
}

class Agent implements AsyncDisposable {
  readonly companions: Companions;
  readonly #stop: AbortController;

  constructor(companions: Companions, stop: AbortController) {
    this.companions = companions;
    this.#stop = stop;
  }

  tell(backend: object, peers: readonly Node[], isComplete = true): void {
    const network = readNetwork({ Network: '10.244.0.0/16', Backend: { Type: 'extension', ...backend } });
    const nodes = [SELF.node, ...peers];
    const facts = { network, nodes, resources: NO_RESOURCES };
    this.companions.learn({ ...facts, labels: {}, isMember: true });
    this.companions.update({ ...facts, self: SELF, isComplete });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.companions[Symbol.asyncDispose]();
  }
}

test('commands get what flannel’s get, in flannel’s order, and what was done is neither repeated nor forgotten', async (t) => {
  const site = new Site(t);
  const backend = {
    PreStartupCommand: site.program('pre', 'sleep 0.2; echo "  key  of 1 "; echo noise >&2'),
    PostStartupCommand: `${site.program('post')} $NETWORK $SUBNET $PUBLIC_IP`,
    SubnetAddCommand: `${site.program('add')} '$x' "$SUBNET via" $PUBLIC_IP`,
    SubnetRemoveCommand: `${site.program('remove')} $SUBNET $PUBLIC_IP`,
  };
  let agent = await site.agent();
  const { companions } = agent;
  assert.match(companions.withholds ?? '', /not started/);
  agent.tell(backend, [nodeOf(2), nodeOf(3, null)]);
  await eventually(() => site.log.length === 4);
  assert.deepEqual(site.log.slice(0, 2), ['pre  <>', 'post 10.244.0.0/16 10.244.1.0/24 192.0.2.1 <>']);
  assert.deepEqual(site.log.slice(2).toSorted(), [
    'add $x 10.244.2.0/24 via 192.0.2.2 <data of 2>',
    'add $x 10.244.3.0/24 via 192.0.2.3 <>',
  ]);
  await eventually(() => companions.problem === undefined && site.added === 2);
  assert.equal(companions.withholds, undefined);
  const self = { ...SELF, companion: companions.facts as { data: string } };
  assert.equal(extension.data(self, extension.options(new Fields({}), NO_RESOURCES), 4), 'key  of 1');

  // An incomplete view removes nothing; another agent, and a node whose data changes.
  agent.tell(backend, [nodeOf(2)], false);
  await agent[Symbol.asyncDispose]();
  agent = await site.agent();
  agent.tell(backend, [nodeOf(2), nodeOf(3, null)]);
  assert.equal(agent.companions.withholds, undefined, 'it knows what its predecessor published');
  agent.tell(backend, [nodeOf(2, 'other')], false);
  await eventually(() => site.log.length === 5);
  assert.equal(site.log[4], 'add $x 10.244.2.0/24 via 192.0.2.2 <other>');
  await eventually(() => site.added === 2);

  // A node leaves while no agent runs.
  await agent[Symbol.asyncDispose]();
  agent = await site.agent();
  agent.tell(backend, [nodeOf(2, 'other')]);
  await eventually(() => site.log.length === 6 && site.added === 1);
  assert.equal(site.log[5], 'remove 10.244.3.0/24 192.0.2.3 <>');

  // Another backend: whatever was added goes, and the folder last.
  await agent.companions.use('vxlan');
  await agent.companions.endOthers();
  assert.equal(site.log[6], 'remove 10.244.2.0/24 192.0.2.2 <other>');
  assert.equal(site.log.length, 7);
  assert.ok(!readdirSync(site.folder).includes('extension'));
});

test('without the agent’s permission nothing runs, and the node says what it needs', async (t) => {
  const site = new Site(t);
  const agent = await site.agent(false);
  agent.tell({ PreStartupCommand: site.program('pre'), SubnetAddCommand: site.program('add') }, [nodeOf(2)]);
  await sleep(200);
  assert.match(
    agent.companions.problem ?? '',
    /^Backend\.Type extension .*--allow-extension.*allowExtension/,
  );
  assert.equal(agent.companions.withholds, agent.companions.problem);
  assert.equal(agent.companions.unready, agent.companions.problem);
  assert.deepEqual(site.log, []);
});

test('a command that fails is named with its status and last words, tried again, and holds up no other', async (t) => {
  const site = new Site(t);
  const gate = join(site.folder, 'gate');
  const add = site.program(
    'add',
    `case $1 in 10.244.2.*) [ -e ${gate} ] || { echo "no gate" >&2; exit 3; } ;; esac`,
  );
  const agent = await site.agent();
  const { companions } = agent;
  agent.tell({ SubnetAddCommand: `${add} $SUBNET` }, [nodeOf(2), nodeOf(3), nodeOf(4)]);
  await eventually(() => site.log.length === 2 && companions.warnings.length > 0);
  assert.deepEqual(companions.warnings, [
    {
      id: 'extension-command-failed',
      severity: 'error',
      what: 'SubnetAddCommand fails for node2',
      cause: 'Backend.SubnetAddCommand: exited with status 3: no gate',
    },
  ]);
  writeFileSync(gate, '');
  await eventually(() => companions.warnings.length === 0);
  assert.equal(site.log.at(-1), 'add 10.244.2.0/24 <data of 2>');
});

test('a command that takes too long is ended with all that it has started', async (t) => {
  const site = new Site(t);
  const agent = await site.agent();
  const pid = join(site.folder, 'pid');
  const backend = {
    shell: true,
    timeout: 1,
    PreStartupCommand: `echo waiting >&2; sleep 1000 & echo $! >${pid}; trap '' TERM; wait; wait; sleep 1000`,
  };
  agent.tell(backend, []);
  const { companions } = agent;
  await eventually(() => companions.problem?.includes('ended after') ?? false, 10_000);
  assert.match(
    companions.problem ?? '',
    /PreStartupCommand: ended after 1 s, having said: waiting; .*timeout/,
  );
  assert.ok(!existsSync(`/proc/${readFileSync(pid, 'utf8').trim()}`));
  assert.match(companions.withholds ?? '', /ended after/, 'peers hear nothing of a node that is not ready');
});

test('a command that has succeeded has, even if the agent ends while it reads the last output', async (t) => {
  const site = new Site(t);
  const pid = join(site.folder, 'pid');
  const text = `sleep 5 & echo $$ >${pid}.new; mv ${pid}.new ${pid}; echo done`;
  const stop = new AbortController();
  const run = runCommand(
    { name: 'SubnetAddCommand', text, words: undefined },
    { variables: {}, input: '', timeout: 10, signal: stop.signal },
  );
  // What it leaves holds its output open.
  await eventually(() => existsSync(pid) && !existsSync(`/proc/${readFileSync(pid, 'utf8').trim()}`));
  stop.abort();
  assert.equal(await run, 'done');
});

test('when the backend is given up, commands run side by side', async (t) => {
  const site = new Site(t);
  const agent = await site.agent();
  // Each waits for the other three.
  const meet = `touch ${site.folder}/met-$1; while [ $(ls ${site.folder} | grep -c met-) -lt 4 ]; do sleep 0.05; done`;
  const backend = {
    SubnetAddCommand: site.program('add'),
    SubnetRemoveCommand: `${site.program('remove', meet)} $PUBLIC_IP`,
    timeout: 5,
  };
  agent.tell(
    backend,
    [2, 3, 4, 5].map((n) => nodeOf(n)),
  );
  await eventually(() => site.added === 4);
  await agent.companions.use('vxlan');
  await agent.companions.endOthers();
  assert.equal(site.log.filter((line) => line.startsWith('remove')).length, 4);
});

test('what a peer publishes is only ever data', async (t) => {
  const site = new Site(t);
  const agent = await site.agent();
  const { companions } = agent;
  const hostile = `$(touch ${site.folder}/owned); \`touch ${site.folder}/owned\` '"`;
  const near: Node = { ...nodeOf(5), subnets: [parseCidr('10.244.1.128/25')] };
  const backend = {
    shell: true,
    SubnetAddCommand: `read -r data; echo "$SUBNET $data \${FLATNET_STORE_PASSWORD-none}" >>${site.folder}/log`,
  };
  process.env.FLATNET_STORE_PASSWORD = 'secret';
  t.after(() => delete process.env.FLATNET_STORE_PASSWORD);
  agent.tell(backend, [nodeOf(2, hostile), nodeOf(3, { no: 'text' }), nodeOf(4, 'x'.repeat(300_000)), near]);
  await eventually(() => site.log.length === 2);
  await sleep(200);
  const lines = site.log.toSorted();
  assert.equal(lines[0], `10.244.2.0/24 ${hostile} none`);
  assert.equal(lines[1]?.length, '10.244.4.0/24  none'.length + 300_000);
  assert.equal(lines.length, 2, 'one publishes no text, another a part of this node’s own subnet');
  assert.ok(!existsSync(join(site.folder, 'owned')));
  assert.deepEqual(companions.warnings, []);
});

test('a command that needs a shell, or a variable that is none, is refused with its field', () => {
  const read = (backend: object) => extension.options(new Fields(backend, 'Backend'), NO_RESOURCES);
  const pipe = { SubnetAddCommand: 'echo $SUBNET | sh' };
  assert.throws(() => read(pipe), {
    code: 'CONFIG_INVALID',
    message: 'Backend.SubnetAddCommand: an unquoted | is for a shell: quote it, or set shell to true',
  });
  assert.equal(read({ ...pipe, shell: true }).subnetAdd?.words, undefined);
  assert.throws(() => read({ PreStartupCommand: 'echo $SUBNET' }), {
    message: /^Backend.PreStartupCommand: /,
  });
  assert.throws(() => read({ timeout: 0 }), { message: /^Backend.timeout: / });
  assert.deepEqual(read({ SubnetAddCommand: ' ' }), read({}), 'as flannel has it');
});
