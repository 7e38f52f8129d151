import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { readNetwork } from '../../src/cluster/network.ts';
import { CONF_LIST_FILE } from '../../src/cni/protocol/conflist.ts';
import { familyOf, parseIp } from '../../src/ip/address.ts';
import { contains, hostCidr } from '../../src/ip/cidr.ts';
import { down } from '../../src/lab/down.ts';
import { agentStatus } from '../../src/lab/machine/agent.ts';
import type { Lab } from '../../src/lab/record/lab.ts';
import { netnsOf } from '../../src/lab/record/names.ts';
import { up } from '../../src/lab/up.ts';
import { NO_CONTAINERD, until } from './containerd.ts';
import { CriNode, type CriPod } from './cri-node.ts';
import { NO_SHIM } from './shim.ts';

const NETWORK = { Network: '10.61.0.0/16', EnableIPv6: true, IPv6Network: 'fd61::/48' };

/** Two nodes of a lab, each with a real containerd that is given only the node's two CNI folders. */
describe('under containerd', { skip: NO_CONTAINERD || NO_SHIM }, () => {
  const name = `cri${process.pid}`;
  const nodes: CriNode[] = [];
  let base = '';
  let lab: Lab;

  before(async () => {
    base = mkdtempSync(join(tmpdir(), 'flatnet-cri-'));
    lab = await up({ name, nodes: 2, subnets: 1, network: readNetwork(NETWORK) });
    for (const node of lab.nodes) nodes.push(await CriNode.start(lab, node.name, base));
  });

  after(async () => {
    for (const node of nodes) await node[Symbol.asyncDispose]();
    await down(name);
    rmSync(base, { recursive: true, force: true });
  });

  afterEach(async () => {
    for (const node of nodes) {
      if (!(await agentStatus(lab, node.name))?.ready) await node.startAgent();
      // Remove the pods of a failed test, so that the next one does not fail too.
      for (const pod of await node.list()) await node.remove(pod);
    }
  });

  function node(index: 1 | 2): CriNode {
    const found = nodes[index - 1];
    assert.ok(found);
    return found;
  }

  test('the node is ready exactly when its agent is', async () => {
    const [first, second] = [node(1), node(2)];
    assert.equal((await first.containerd.cri.condition('NetworkReady')).status, true);
    await second.killAgent();
    rmSync(join(lab.paths.node(second.name).agent.cniConf, CONF_LIST_FILE));
    const ready = () => second.containerd.cri.condition('NetworkReady');
    await until('the network is not ready', async () => !(await ready()).status);
    assert.equal((await ready()).reason, 'NetworkPluginNotReady');
    await second.startAgent();
    await until('the network is ready', async () => (await ready()).status);
  });

  test('pods on two nodes communicate, and each sees the other’s own address', async () => {
    const [first, second] = [node(1), node(2)];
    const [client, server] = await Promise.all([first.run('client'), second.run('server')]);
    await inSubnets(first, client);
    await inSubnets(second, server);
    const shell = await first.addContainer(client, 'shell');
    await second.addContainer(server, 'web', 'httpd', '-f', '-p', '80', '-h', '/www');
    const sidecar = await second.addContainer(server, 'sidecar');
    assert.equal(await second.exec(sidecar, 'hostname'), 'server\n');
    for (const [i, address] of server.ips.entries()) {
      const host = familyOf(parseIp(address)) === 6 ? `[${address}]` : address;
      const seen = await first.exec(shell, 'wget', '-qO-', `http://${host}/cgi-bin/who`);
      assert.ok(seen.includes(client.ips[i] ?? 'nothing'), `${seen} is not ${client.ips[i]}`);
      assert.match(await first.exec(shell, 'ping', '-c', '1', '-W', '2', address), /1 packets received/);
    }
    // Containers of one pod share its addresses and its loopback.
    const itself = await second.exec(sidecar, 'wget', '-qO-', 'http://127.0.0.1/cgi-bin/who');
    assert.match(itself, /127\.0\.0\.1/);
    assert.match(await second.exec(sidecar, 'ip', 'address', 'show', 'lo'), /inet6 ::1/);
    await Promise.all([first.stop(client), second.stop(server)]);
    assert.equal(await second.isReady(server), false);
    // Links are swept once no call has been at work for a moment.
    for (const each of nodes)
      await until('stopping frees the interface', async () => !veths(each).length, 1000);
    await Promise.all([first.remove(client), second.remove(server)]);
    for (const each of nodes) await each.isClean();
  });

  test('ten pods created at once get distinct addresses and return them all', async () => {
    const first = node(1);
    const pods = await Promise.all(Array.from({ length: 10 }, (_, i) => first.run(`many-${i}`)));
    assert.equal(new Set(pods.flatMap(({ ips }) => ips)).size, 20);
    await Promise.all(pods.map((pod) => first.remove(pod)));
    await first.isClean();
  });

  test('a second sandbox of the same name is refused; stopping or removing one twice is harmless', async () => {
    const first = node(1);
    const pod = await first.run('twice');
    await assert.rejects(first.run('twice'), /is reserved/);
    assert.deepEqual(
      first
        .leftovers()
        .filter((entry) => pod.ips.includes(entry))
        .sort(),
      [...pod.ips].sort(),
    );
    await first.stop(pod);
    await first.remove(pod);
    await first.forget(pod);
    await first.isClean();
  });

  test('a pod removed while the agent is down is cleaned up when the agent returns', async () => {
    const first = node(1);
    const pod = await first.run('orphan');
    await first.killAgent();
    await first.remove(pod);
    const note = new RegExp(`^cbr0:${pod.id}:eth0:[0-9a-f]{16}\\.json$`);
    assert.ok(
      first.leftovers().some((entry) => note.test(entry)),
      'the DEL is recorded',
    );
    assert.ok(first.leftovers().includes(pod.ips[0] ?? ''), 'the address is still reserved');
    await first.startAgent();
    await first.isClean();
  });

  test('a pod is refused while the agent is down, and runs once the agent returns', async () => {
    const first = node(1);
    await first.killAgent();
    await assert.rejects(first.run('early'), /the flatnet agent of this node is not available/);
    assert.deepEqual(await first.list(), []);
    await first.startAgent();
    await first.isClean();
    await first.remove(await first.run('early'));
    await first.isClean();
  });

  test('if the agent is killed while ten pods start, each runs or is refused, and nothing leaks', async () => {
    const first = node(1);
    const runs = Promise.allSettled(Array.from({ length: 10 }, (_, i) => first.run(`storm-${i}`)));
    await until('the first pod is wired', async () => veths(first).length > 0);
    await first.killAgent();
    await first.startAgent();
    const results = await runs;
    const running = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
    const refused = results.flatMap((result) =>
      result.status === 'rejected' ? [String(result.reason)] : [],
    );
    for (const reason of refused)
      assert.match(reason, /agent of this node is not available|cannot take pods/);
    assert.equal((await first.list()).length, running.length);
    for (const pod of running) await first.remove(pod);
    await first.isClean();
  });

  test('containerd keeps its pods across a kill and restart, and can remove them', async () => {
    const [first, second] = [node(1), node(2)];
    const [pod, peer] = await Promise.all([first.run('stays'), second.run('peer')]);
    const shell = await first.addContainer(pod, 'shell');
    await first.containerd.kill();
    await first.containerd.start();
    assert.equal(await first.isReady(pod), true);
    await first.exec(shell, 'ping', '-c', '1', '-W', '2', peer.ips[0] ?? '');
    await Promise.all([first.remove(pod), second.remove(peer)]);
    for (const each of nodes) await each.isClean();
  });

  test('a pod’s bandwidth annotations become token buckets, which go with it', async () => {
    const first = node(1);
    const annotations = ['ingress', 'egress'].map((way) => ({
      key: `kubernetes.io/${way}-bandwidth`,
      value: '10M',
    }));
    const pod = await first.run('slow', { annotations });
    const buckets = execFileSync('ip', ['netns', 'exec', netnsOf(lab.name, first.name), 'tc', 'qdisc'], {
      encoding: 'utf8',
    });
    assert.equal(buckets.match(/tbf f1a7: .*rate 10Mbit/g)?.length, 2, buckets);
    await first.remove(pod);
    await first.isClean();
  });

  test('a pod’s host port is held until the pod is gone, and refused to another meanwhile', async () => {
    const first = node(1);
    const ports = (host_port: number) => ({ port_mappings: [{ container_port: 80, host_port }] });
    const pod = await first.run('port', ports(8080));
    await assert.rejects(first.run('other', ports(8080)), /host port 8080\/tcp is taken by \S*port/);
    // Host port 0, as every container with a `ports` entry has it.
    await first.remove(await first.run('none', ports(0)));
    await first.remove(pod);
    await first.remove(await first.run('other', ports(8080)));
    await first.isClean();
  });

  async function inSubnets(on: CriNode, { ips }: CriPod): Promise<void> {
    const { subnets = [] } = (await agentStatus(lab, on.name)) ?? {};
    const held = ips.map((ip) => subnets.findIndex((subnet) => contains(subnet, hostCidr(parseIp(ip)))));
    assert.deepEqual(held.sort(), [0, 1], `${ips} of ${subnets}`);
  }
});

function veths(on: CriNode): string[] {
  return on.leftovers().filter((entry) => entry.startsWith('veth'));
}
