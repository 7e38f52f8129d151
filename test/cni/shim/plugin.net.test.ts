import assert from 'node:assert/strict';
import { fork, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { renderConfList, writeConfList } from '../../../src/cni/protocol/conflist.ts';
import { VERSIONS } from '../../../src/cni/protocol/version.ts';
import type { AgentPlace } from '../../../src/cni/shim/agent-file.ts';
import { installPlugins, writeAgentFile } from '../../../src/cni/shim/install.ts';
import { type AttachmentOptions, addNetwork, delNetwork } from '../../../src/runtime/cni-exec.ts';
import { LOOPBACK_NETWORK } from '../../../src/runtime/conf-list.ts';
import { execPlugin } from '../../../src/runtime/plugin-exec.ts';
import { checkNetwork, gcNetwork, statusNetwork } from '../../runtime/runtime.ts';
import { eventually, Host, ip, ipOne, leftovers, must, Pod, pings, request } from '../host.ts';
import { exec } from '../reference.ts';
import { NO_SHIM, SHIM } from '../shim.ts';
import { longMissed } from './long-missed.ts';

const AGENT = join(import.meta.dirname, '../crashing-agent.ts');

function confOf(host: Host): AgentPlace {
  return { socket: host.socketPath, stateDir: host.stateDir };
}

describe('the plugin without its agent', { skip: NO_SHIM }, () => {
  test('every verb has a defined answer', async () => {
    await using host = new Host();
    using pod = new Pod();
    const run = (command: string) => exec(host, SHIM, command, { pod, conf: confOf(host) });
    const code = (command: string) => run(command).out?.code;
    assert.equal(code('ADD'), 11);
    assert.equal(code('CHECK'), 11);
    assert.equal(code('GC'), 11);
    // It may be away for a moment, unless it has not run since the machine started.
    assert.deepEqual(run('STATUS'), { exit: 0, out: undefined });
    longMissed(host.socketPath);
    assert.equal(code('STATUS'), 50);
    const nowhere = { ...confOf(host), socket: join(host.dir, 'none', 'agent.sock') };
    assert.equal(exec(host, SHIM, 'STATUS', { conf: nowhere }).out?.code, 50);
    assert.deepEqual(run('DEL'), { exit: 0, out: undefined });
    assert.deepEqual(run('VERSION'), {
      exit: 0,
      out: { cniVersion: '1.1.0', supportedVersions: [...VERSIONS] },
    });
    assert.equal(run('BOGUS').out?.code, 4);
  });

  test('invalid input and an absent agent give different errors', async () => {
    await using host = new Host();
    const bad = exec(host, SHIM, 'ADD', { id: 'a/b', conf: confOf(host), env: { CNI_NETNS: '/n' } });
    assert.deepEqual([bad.exit, bad.out?.code], [1, 4]);
    assert.deepEqual(readdirSync(host.dir), []);
  });

  test('a configuration too large for the agent is called so, and not for lack of an agent', async () => {
    await using host = await new Host().listen();
    using pod = new Pod();
    await must(host, 'ADD', { pod });
    const conf = { ...confOf(host), prevResult: { x: 'x'.repeat(10_000_000) } };
    const size = Buffer.byteLength(request('ADD', { conf }).stdin);
    for (const command of ['ADD', 'CHECK', 'GC', 'STATUS']) {
      const { exit: status, out } = exec(host, SHIM, command, { pod, conf });
      assert.deepEqual([status, out?.code], [1, 7], command);
      assert.equal(out?.msg, `the network configuration is too large: ${size} bytes, limit 2097152`);
    }
    // A DEL must succeed, whatever the configuration.
    assert.equal(exec(host, SHIM, 'DEL', { pod, conf }).exit, 0);
    await host.service.collectGarbage();
    await eventually('nothing is left', () => leftovers(host).length === 0);
    // Just below the limit, and mostly of what is escaped twice on its way.
    const large = { ...confOf(host), args: { cni: { x: '"'.repeat(1_000_000) } } };
    installPlugins(SHIM, join(host.dir, 'bin'));
    const { env, stdin } = request('ADD', { pod, conf: large });
    await execPlugin('flatnet', { ...env, CNI_COMMAND: 'ADD' }, stdin, { binDirs: [join(host.dir, 'bin')] });
    assert.equal(host.pods.size, 1);
  });

  test('a DEL is recorded and executed when the agent returns', async () => {
    await using host = new Host();
    using pod = new Pod();
    await must(host, 'ADD', { pod });
    await host.stop();
    for (let i = 0; i < 2; i++) {
      assert.equal(exec(host, SHIM, 'DEL', { pod, conf: confOf(host) }).exit, 0);
    }
    assert.match(readdirSync(join(host.stateDir, 'deleted')).join(), /^cbr0:pod-0:eth0:[0-9a-f]{16}\.json$/);
    const next = new Host({ dir: host.dir, netns: host.netns });
    await next.service.collectGarbage();
    await eventually('nothing is left', () => leftovers(next).length === 0);
    await next.stop();
  });

  test('a DEL recorded while the agent runs is executed at once, and only once', async () => {
    await using host = new Host();
    using pod = new Pod();
    await must(host, 'ADD', { pod });
    using _notes = host.service.followNotedDels();
    // The socket is not served yet, as while an agent starts.
    assert.equal(exec(host, SHIM, 'DEL', { pod, conf: confOf(host) }).exit, 0);
    await eventually('nothing is left', () => leftovers(host).length === 0);
    await must(host, 'ADD', { pod });
    await host.service.collectGarbage();
    assert.equal(host.pods.size, 1);
    assert.deepEqual(host.warnings, []);
  });

  test('without an agent in the configuration, the file next to the plugins names it; a DEL of lo is not recorded', async () => {
    await using host = new Host();
    using pod = new Pod();
    const binDir = join(host.dir, 'bin');
    mkdirSync(binDir);
    writeAgentFile(binDir, confOf(host));
    const run = (command: string, conf: object) =>
      exec(host, SHIM, command, { pod, conf, env: { CNI_PATH: `/no/such:${binDir}` } });
    const loopback = { type: 'loopback' };
    assert.match(JSON.stringify(run('ADD', loopback).out?.details), new RegExp(host.socketPath));
    assert.equal(run('DEL', loopback).exit, 0);
    assert.equal(existsSync(host.stateDir), false);
    assert.equal(run('DEL', { type: 'bridge', ipam: { type: 'flatnet' } }).exit, 0);
    assert.match(readdirSync(join(host.stateDir, 'deleted')).join(), /^cbr0:pod-0:eth0:[0-9a-f]{16}\.json$/);
  });

  test('a recorded DEL does not undo a later ADD of the same container', async () => {
    await using host = new Host();
    using pod = new Pod();
    await must(host, 'ADD', { pod });
    await host.stop();
    exec(host, SHIM, 'DEL', { pod, conf: confOf(host) });
    const next = new Host({ dir: host.dir, netns: host.netns });
    await must(next, 'ADD', { pod });
    await next.service.collectGarbage();
    assert.ok(pings(next.netns, [...next.pods.values()][0]?.addresses[0] ?? ''));
    await must(next, 'DEL', { pod });
    await eventually('nothing is left', () => leftovers(next).length === 0);
    await next.stop();
  });

  test('a DEL that cannot be recorded is an error, so that the runtime retries', async () => {
    await using host = new Host();
    const conf = { socket: host.socketPath, stateDir: '/proc/no/such' };
    assert.deepEqual(exec(host, SHIM, 'DEL', { conf }).out?.code, 5);
  });

  test('an agent that accepts the call but never answers', async () => {
    await using host = new Host();
    const server = createServer(() => undefined).listen(host.socketPath);
    await once(server, 'listening');
    longMissed(host.socketPath);
    try {
      const env = { CNI_COMMAND: 'STATUS', CNI_PATH: '/x' } as const;
      mkdirSync(join(host.dir, 'bin'));
      symlinkSync(SHIM, join(host.dir, 'bin', 'flatnet'));
      const conf = JSON.stringify({ cniVersion: '1.1.0', name: 'n', ...confOf(host) });
      await assert.rejects(
        execPlugin('flatnet', env, conf, { binDirs: [join(host.dir, 'bin')] }),
        /did not answer within 3000 ms/,
      );
    } finally {
      server.close();
      server.unref();
    }
  });

  test('if the agent is killed during a call, ADD returns 11, DEL succeeds, and the next agent repairs both', async () => {
    for (const command of ['ADD', 'DEL']) {
      await using host = new Host();
      using pod = new Pod();
      if (command === 'DEL') await must(host, 'ADD', { pod });
      await host.stop();
      const agent = fork(AGENT, [host.dir, host.netns, '2']);
      try {
        await once(agent, 'message');
        const { exit, out } = exec(host, SHIM, command, { pod, conf: confOf(host) });
        assert.deepEqual([exit, out?.code], command === 'ADD' ? [1, 11] : [0, undefined]);
      } finally {
        agent.kill('SIGKILL');
      }
      const next = new Host({ dir: host.dir, netns: host.netns });
      await next.service.collectGarbage();
      await eventually('nothing is left', () => leftovers(next).length === 0);
      await next.stop();
    }
  });
});

describe('the plugin with its agent', { skip: NO_SHIM }, () => {
  test('for any input it prints one document or nothing, with the matching status', async () => {
    await using host = await new Host().listen();
    using pod = new Pod();
    const odd = fc.oneof(fc.string({ unit: 'grapheme-ascii' }), fc.constantFrom('', 'eth0', pod.path));
    const conf = fc.oneof(
      fc.jsonValue(),
      fc.record({ type: odd, name: odd, cniVersion: fc.constantFrom('1.0.0', 'x', 7) }),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION', 'X'),
        fc.record({ id: odd, ifName: odd }),
        conf,
        async (command, names, conf) => {
          const { socket } = confOf(host) as { socket: string };
          const given =
            typeof conf === 'object' && conf !== null && !Array.isArray(conf) ? conf : { ipam: conf };
          // The host answers on the main thread, so waiting for the plugin must not block it.
          const binDir = join(host.dir, 'bin');
          if (!existsSync(binDir)) installPlugins(SHIM, binDir);
          const env = {
            CNI_COMMAND: command as 'ADD',
            CNI_CONTAINERID: names.id.replaceAll('\0', ''),
            CNI_IFNAME: names.ifName.replaceAll('\0', ''),
            CNI_NETNS: '/run/netns/none',
            CNI_PATH: '/x',
          };
          try {
            await execPlugin('flatnet', env, JSON.stringify({ ...given, socket, stateDir: host.stateDir }), {
              binDirs: [binDir],
            });
          } catch (error) {
            const object = (error as Error).cause as
              | { code?: number; msg?: string; cniVersion?: string }
              | undefined;
            assert.ok(object?.code && object.msg && object.cniVersion, String(error));
          }
        },
      ),
      { numRuns: 60 },
    );
    assert.deepEqual(host.warnings, []);
  });

  test('without CNI_COMMAND it describes itself on stderr', async () => {
    await using host = await new Host().listen();
    const { stdout, stderr, status } = spawnSync(SHIM, { env: {}, encoding: 'utf8', cwd: host.dir });
    assert.deepEqual([stdout, status], ['', 0]);
    assert.match(stderr, /CNI protocol versions supported: 0\.1\.0, .*1\.1\.0/);
  });

  /** Prepares a node for a container runtime, as the agent does. */
  async function node(host: Host): Promise<Omit<AttachmentOptions, 'containerId' | 'ifName' | 'netns'>> {
    await host.listen();
    const [confDir, binDir] = [join(host.dir, 'net.d'), join(host.dir, 'bin')];
    installPlugins(SHIM, binDir);
    writeAgentFile(binDir, confOf(host));
    writeConfList(confDir, renderConfList(confOf(host)));
    return { confDir, binDirs: [binDir], cacheDir: join(host.dir, 'cache'), nodeNetns: host.path };
  }

  test('called as by containerd: STATUS, lo and eth0 concurrently, DEL without a namespace', async () => {
    await using host = new Host();
    using pod = new Pod();
    const options = await node(host);
    await statusNetwork(options);
    const eth0 = {
      ...options,
      containerId: 'c0ffee',
      ifName: 'eth0',
      netns: pod.path,
      args: {
        IgnoreUnknown: '1',
        K8S_POD_NAMESPACE: 'default',
        K8S_POD_NAME: 'web-0',
        K8S_POD_INFRA_CONTAINER_ID: 'c0ffee',
        K8S_POD_UID: '7b1f',
      },
      // Capitalised, because go-cni's structs have no JSON tags.
      capabilities: {
        portMappings: [],
        dns: { Servers: ['10.96.0.10'], Searches: [], Options: [] },
        'io.kubernetes.cri.pod-annotations': {},
      },
    };
    const lo = { ...eth0, ifName: 'lo', network: LOOPBACK_NETWORK };
    const [, result] = await Promise.all([addNetwork(lo), addNetwork(eth0)]);
    const index = result.interfaces.findIndex(({ name }) => name === 'eth0');
    assert.ok(
      result.ips.some((entry) => entry.interface === index),
      'containerd reads the PodIP from here',
    );
    assert.equal(ipOne(pod.name, 'link', 'show', 'dev', 'lo').operstate, 'UNKNOWN', 'lo is up');
    assert.equal([...host.pods.values()][0]?.name, 'web-0');
    assert.ok(pings(host.netns, '10.90.1.2'));
    const cached = JSON.parse(readFileSync(join(host.dir, 'cache/results/cbr0-c0ffee-eth0'), 'utf8'));
    assert.deepEqual(
      [cached.kind, cached.networkName, cached.result.cniVersion],
      ['cniCacheV1', 'cbr0', '1.1.0'],
    );
    const portMappings = [{ HostPort: 8080, ContainerPort: 80, Protocol: 'tcp', HostIP: '' }];
    using web = new Pod();
    const port = { ...eth0, containerId: 'port', netns: web.path, capabilities: { portMappings } };
    await addNetwork(port);
    assert.deepEqual([...host.pods.values()].at(-1)?.hostPorts, [
      { protocol: 'tcp', hostPort: 8080, containerPort: 80 },
    ]);
    await delNetwork(port);
    pod[Symbol.dispose]();
    await delNetwork({ ...eth0, netns: '' });
    await delNetwork({ ...lo, netns: '' });
    await eventually('nothing is left', () => leftovers(host).length === 0);
  });

  test('called as by CRI-O: STATUS until ready, GC once, ADD and an immediate CHECK, DEL', async () => {
    await using host = new Host();
    using stale = new Pod();
    using pod = new Pod();
    const options = await node(host);
    const old = { ...options, containerId: 'old', ifName: 'eth0', netns: stale.path };
    await addNetwork(old);
    host.notReady = 'no lease yet';
    await assert.rejects(
      statusNetwork(options),
      (error: Error) => (error.cause as { code: number }).code === 50,
    );
    host.notReady = undefined;
    await statusNetwork(options);
    await gcNetwork({ ...options, valid: [] });
    await eventually('the old pod’s remains are gone', () => leftovers(host).length === 0);
    const crio = { ...options, containerId: 'new', ifName: 'eth0', netns: pod.path };
    await addNetwork(crio);
    await checkNetwork(crio);
    await gcNetwork({ ...options, valid: [crio] });
    await checkNetwork(crio);
    ip(pod.name, 'addr', 'flush', 'dev', 'eth0');
    await assert.rejects(checkNetwork(crio), /lacks the address/);
    await delNetwork(crio);
    await delNetwork(crio);
    await eventually('nothing is left', () => leftovers(host).length === 0);
  });
});
