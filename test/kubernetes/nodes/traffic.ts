import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { parseIp } from '../../../src/ip/address.ts';
import { RunningPing } from '../../agent/running-ping.ts';
import { eventually } from '../../store/servers.ts';
import type { KubeletCluster, Pod } from './cluster.ts';
import { PORT } from './workload.ts';

/** Asserts that every pod reaches every other and itself, which see it by its own address, and every host. */
export async function assertAllReachAll(cluster: KubeletCluster, pods: readonly Pod[]): Promise<void> {
  const servers = pods.flatMap(({ ips }) => ips);
  const hosts = cluster.nodes.flatMap(({ addresses }) => addresses);
  await Promise.all(
    pods.map(async (pod) => {
      const expected = servers.map(
        (ip) => `${ip} sees ${pod.ips.find((own) => own.includes(':') === ip.includes(':'))}`,
      );
      const seen = await cluster.exec(pod.name, 'sh', '-c', asking(servers));
      assert.deepEqual(seen.trim().split('\n'), expected, `${pod.name} on ${pod.node}`);
      const pings = hosts.map((host) => `ping -c1 -W20 ${host} >/dev/null || echo ${host}`).join('; ');
      assert.equal(await cluster.exec(pod.name, 'sh', '-c', pings), '', `${pod.name} reaches the hosts`);
    }),
  );
}

/** For a pod's shell: a web server's name, and whom it sees. */
export function request(ip: string, port: number): string {
  return `printf 'GET /cgi-bin/peer HTTP/1.0\\r\\n\\r\\n' | nc -w 20 ${ip} ${port} | tail -n 1`;
}

/** The same of all servers. */
function asking(servers: readonly string[]): string {
  return `for ip in ${servers.join(' ')}; do echo $ip sees $(${request('$ip', PORT)} | cut -d' ' -f2); done`;
}

/** Prints what a web server answers. */
export const CURL = ['curl', '--silent', '--show-error', '--max-time', '20'] as const;

/** Waits until an answer is as expected, e.g. once kube-proxy knows of a Service. */
export async function answers(ask: () => Promise<string>, expected: RegExp): Promise<void> {
  let last = '';
  const isExpected = async (): Promise<boolean> => {
    last = await ask().catch(String);
    return expected.test(last);
  };
  await eventually(isExpected, 60_000).catch(() => assert.match(last, expected));
}

/** Pings between pods of different nodes, both ways round, that have begun. */
export async function pingsBetween(
  t: Pick<TestContext, 'after'>,
  cluster: KubeletCluster,
  pods: readonly Pod[],
): Promise<readonly RunningPing[]> {
  const one = cluster.nodes.map(({ name }) => pods.find(({ node }) => node === name));
  const pings = await Promise.all(
    one.map(async (from, i) => {
      const to = one[(i + 1) % one.length];
      const [source, target] = [from?.ips[0], to?.ips[0]];
      assert.ok(from && source !== undefined && target !== undefined, 'every node has a pod');
      return new RunningPing(t, await cluster.node(from.node).inPod(source), parseIp(target));
    }),
  );
  for (const ping of pings) await ping.answered();
  return pings;
}

/** Ends pings, of which each must have lost none and sent some. */
export async function assertNoneLost(pings: readonly RunningPing[]): Promise<void> {
  const results = await Promise.all(pings.map((ping) => ping.end()));
  assert.deepEqual(
    results.map(({ lost }) => lost),
    results.map(() => []),
  );
  for (const { sent } of results) assert.ok(sent > 100, `${sent} pings`);
}
