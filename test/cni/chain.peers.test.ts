import assert from 'node:assert/strict';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { installPlugins } from '../../src/cni/shim/install.ts';
import { type AttachmentOptions, addNetwork, delNetwork } from '../../src/runtime/cni-exec.ts';
import { checkNetwork, gcNetwork } from '../runtime/runtime.ts';
import { eventually, Host, ip, ipOne, leftovers, Pod, pings } from './host.ts';
import { NO_REFERENCE, REFERENCE } from './reference.ts';
import { NO_SHIM, SHIM } from './shim.ts';

/** A node with our agent, our plugin and the reference plugins, configured to run this list of plugins. */
async function node(
  host: Host,
  plugins: readonly object[],
): Promise<Omit<AttachmentOptions, 'containerId' | 'ifName' | 'netns'>> {
  await host.listen();
  const [confDir, binDir] = [join(host.dir, 'net.d'), join(host.dir, 'bin')];
  mkdirSync(confDir);
  installPlugins(SHIM, binDir);
  const list = { name: 'net', cniVersion: '1.0.0', plugins };
  writeFileSync(join(confDir, '10-net.conflist'), JSON.stringify(list));
  return { confDir, binDirs: [binDir, REFERENCE], cacheDir: join(host.dir, 'cache'), nodeNetns: host.path };
}

function ours(host: Host, conf: object = {}): object {
  return { type: 'flatnet', socket: host.socketPath, stateDir: host.stateDir, ...conf };
}

const RANGES = { ranges: [[{ subnet: '10.7.0.0/24' }]] };

describe('in chains with the reference plugins', { skip: NO_REFERENCE || NO_SHIM }, () => {
  test('before another plugin: tuning changes our interface, and CHECK accepts it', async () => {
    await using host = new Host();
    using pod = new Pod();
    const options = {
      ...(await node(host, [
        ours(host),
        { type: 'tuning', mac: '02:00:00:00:00:77', mtu: 1300, sysctl: { 'net.ipv4.ip_default_ttl': '61' } },
      ])),
      containerId: 'a',
      ifName: 'eth0',
      netns: pod.path,
    };
    const result = await addNetwork(options);
    assert.equal(result.interfaces[2]?.mac, '02:00:00:00:00:77');
    assert.deepEqual([ipOne(pod.name, 'link', 'show', 'dev', 'eth0').address], ['02:00:00:00:00:77']);
    await checkNetwork(options);
    await delNetwork(options);
    await eventually('nothing is left', () => leftovers(host).length === 0);
  });

  test('after another plugin: its interface and result are kept, and the agent knows the pod', async () => {
    await using host = new Host();
    using pod = new Pod();
    const bridge = {
      type: 'bridge',
      bridge: 'br7',
      isGateway: true,
      ipam: { type: 'host-local', dataDir: host.dataDir, ...RANGES },
    };
    const options = {
      ...(await node(host, [bridge, ours(host, { mtu: 1380 })])),
      containerId: 'a',
      ifName: 'eth0',
      netns: pod.path,
    };
    const result = await addNetwork(options);
    assert.deepEqual(result.ips, [{ interface: 2, address: '10.7.0.2/24', gateway: '10.7.0.1' }]);
    assert.equal(ipOne(pod.name, 'link', 'show', 'dev', 'eth0').mtu, 1380);
    const [known] = [...host.pods.values()];
    assert.deepEqual([known?.addresses, known?.foreign], [['10.7.0.2'], true]);
    assert.equal(ip(pod.name, 'link').length, 2, 'no second interface');
    assert.ok(pings(pod.name, '10.7.0.1'));
    await checkNetwork(options);
    assert.ok(existsSync(join(host.dataDir, 'net', '10.7.0.2')));
    await delNetwork(options);
    assert.equal(host.pods.size, 0);
    await eventually('only its bridge is left', () => leftovers(host).join() === 'br7');
  });

  for (const type of ['bridge', 'ptp']) {
    test(`as the IPAM delegate of ${type}`, async () => {
      await using host = new Host();
      using pod = new Pod();
      const ipam = ours(host);
      const main = { type, ...(type === 'bridge' ? { bridge: 'br7', isDefaultGateway: true } : {}), ipam };
      const options = { ...(await node(host, [main])), containerId: 'a', ifName: 'eth0', netns: pod.path };
      const result = await addNetwork(options);
      assert.deepEqual(
        result.ips.map(({ address, gateway }) => [address, gateway]),
        [
          ['10.90.1.2/24', '10.90.1.1'],
          ['fd00:90:1::2/64', 'fd00:90:1::1'],
        ],
      );
      const routes = ip(pod.name, 'route').map(({ dst }) => dst);
      assert.ok(routes.includes('10.90.0.0/16'), `a route to the cluster: ${routes}`);
      await checkNetwork(options);
      await delNetwork(options);
      await delNetwork(options);
      await eventually(
        'nothing is left',
        () => leftovers(host).filter((name) => name !== 'br7').length === 0,
      );
    });
  }

  test('a GC frees the addresses of a delegate’s pods that the runtime no longer knows', async () => {
    await using host = new Host();
    using pod = new Pod();
    const options = {
      ...(await node(host, [{ type: 'ptp', ipam: ours(host) }])),
      containerId: 'a',
      ifName: 'eth0',
      netns: pod.path,
    };
    await addNetwork(options);
    await gcNetwork({ ...options, valid: [options] });
    assert.ok(existsSync(join(host.dataDir, 'net', '10.90.1.2')));
    await gcNetwork({ ...options, valid: [] });
    assert.ok(!existsSync(join(host.dataDir, 'net', '10.90.1.2')));
  });
});
