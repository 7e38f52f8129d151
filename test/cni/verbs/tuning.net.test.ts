import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { call, eventually, Host, leftovers, must, Pod } from '../host.ts';
import { NO_REFERENCE, reference } from '../reference.ts';

const TUNING = {
  sysctl: { 'net.ipv4.conf.IFNAME.arp_filter': '1', 'net.ipv4.ip_local_port_range': '2000 3000' },
  promisc: true,
  allmulti: true,
  txQLen: 77,
};

const run = (pod: Pod, ...command: string[]): string =>
  execFileSync('ip', ['netns', 'exec', pod.name, ...command], { encoding: 'utf8' });

/** What the settings above lead to, as other programs see it. */
function state(pod: Pod): string[] {
  const link = run(pod, 'ip', '-d', 'link', 'show', 'eth0');
  return [
    run(pod, 'sysctl', 'net.ipv4.conf.eth0.arp_filter', 'net.ipv4.ip_local_port_range'),
    `${/promiscuity \d+ .*?allmulti \d+|promiscuity \d+/.exec(link)}`,
    `${/<([^>]*)>/.exec(link)?.[1]?.split(',').sort()}`,
    `${/qlen \d+/.exec(link)}`,
  ];
}

for (const wiring of ['bridge', 'routed'] as const) {
  test(`${wiring}: ADD applies the keys of the plugin tuning, and CHECK compares them`, async () => {
    await using host = new Host(wiring === 'routed' ? { wiring } : {});
    using pod = new Pod();
    const prevResult = { cniVersion: '1.1.0', ...(await must(host, 'ADD', { pod, conf: TUNING })) };
    const tuned = state(pod);
    assert.match(tuned.join('\n'), /arp_filter = 1\n.*2000\s3000.*ALLMULTI.*PROMISC.*qlen 77/s);
    const conf = { ...TUNING, prevResult };
    await must(host, 'CHECK', { pod, conf });
    for (const [command, message] of [
      ['sysctl -qw net.ipv4.conf.eth0.arp_filter=0', /arp_filter is 0, not 1/],
      ['ip link set eth0 promisc off', /promisc of eth0 is false, not true/],
      ['ip link set eth0 txqueuelen 5', /txQueueLength of eth0 is 5, not 77/],
    ] as const) {
      run(pod, ...command.split(' '));
      const { exit, out } = await call(host, 'CHECK', { pod, conf });
      assert.deepEqual([exit, message.test(`${out?.msg}`)], [1, true], `${out?.msg}`);
      run(pod, 'sysctl', '-qw', 'net.ipv4.conf.eth0.arp_filter=1');
      run(pod, 'ip', 'link', 'set', 'eth0', 'promisc', 'on', 'txqueuelen', '77');
    }
    await must(host, 'CHECK', { pod, conf });
  });
}

test('the reference plugin leads to the same state', { skip: NO_REFERENCE }, async () => {
  await using host = new Host();
  using ours = new Pod();
  using theirs = new Pod();
  await must(host, 'ADD', { pod: ours, id: 'ours', conf: TUNING });
  const prevResult = { cniVersion: '1.0.0', ...(await must(host, 'ADD', { pod: theirs, id: 'theirs' })) };
  // Debian's is of an earlier version than the placeholder IFNAME.
  const { 'net.ipv4.conf.IFNAME.arp_filter': _, ...others } = TUNING.sysctl;
  const sysctl = { ...others, 'net.ipv4.conf.eth0.arp_filter': '1' };
  // It lacks txQLen, too.
  const conf = { ...TUNING, cniVersion: '1.0.0', type: 'tuning', sysctl, prevResult };
  const { exit, out } = reference(host, 'tuning', 'ADD', { pod: theirs, id: 'theirs', conf });
  assert.equal(exit, 0, JSON.stringify(out));
  run(theirs, 'ip', 'link', 'set', 'eth0', 'txqueuelen', '77');
  assert.deepEqual(state(ours), state(theirs));
});

test('a setting that cannot be made fails the ADD, and nothing is left', async () => {
  await using host = new Host();
  using pod = new Pod();
  for (const [sysctl, code] of [
    [{ 'net.ipv4.no_such_setting': '1' }, 999],
    [{ 'net.ipv4.ip_local_port_range': 'many' }, 999],
    [{ 'kernel.hostname': 'x' }, 7],
  ] as const) {
    const { exit, out } = await call(host, 'ADD', { pod, conf: { sysctl } });
    assert.deepEqual([exit, out?.code], [1, code], `${out?.msg}`);
  }
  await eventually('nothing is left', () => leftovers(host).length === 0);
});
