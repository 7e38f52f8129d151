import assert from 'node:assert/strict';
import type { Physical } from '../../src/cluster/physical.ts';
import { call, eventually, ip, ipOne, must, Pod } from '../cni/host.ts';
import { Lan, run } from './lan.ts';

const TAKEN = '192.168.77.150';

/**
 * Asserts that a pod of this wiring is refused the only address that the server has while another machine
 * uses it, and gets it afterwards.
 */
export async function declinesTaken(config: Physical): Promise<void> {
  await using lan = new Lan();
  await lan.serve(`--dhcp-range=${TAKEN},${TAKEN},255.255.255.0,120`);
  const host = await lan.host({ config });
  using pod = new Pod();
  run(lan.server, `address add ${TAKEN}/32 dev lo`);
  const { exit, out } = await call(host, 'ADD', { pod });
  assert.equal(exit, 1);
  assert.equal(out?.code, 11, String(out?.msg));
  const { address } = ipOne(lan.server, 'link', 'show', 'dev', 'eth0');
  assert.match(String(out?.msg), new RegExp(`DHCP: ${TAKEN} is used by ${address} already`));
  await eventually('the server knows', () => lan.count('DECLINE') === 1);
  assert.deepEqual(lan.leases.all(), []);
  assert.ok(!ip(pod.name, 'link').some(({ ifname }) => ifname === 'eth0'));
  run(lan.server, `address delete ${TAKEN}/32 dev lo`);
  const { ips } = await must(host, 'ADD', { pod });
  assert.equal(ips[0]?.address, `${TAKEN}/24`);
}
