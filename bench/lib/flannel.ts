import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { poll } from '../../src/async/poll.ts';
import { parseIp } from '../../src/ip/address.ts';
import type { Path } from '../../src/lab/bench/measure.ts';
import { FLANNELD } from '../../test/takeover/programs.ts';
import { type Machine, wire } from './machine.ts';

/** Whether flannel's own program has been built. */
export function hasFlannel(): boolean {
  return existsSync(FLANNELD.path);
}

/** Two nodes of flannel with its backend udp, and a pod on a bridge of each: the path between the pods. */
export async function flannelsUdp(machine: Machine): Promise<Path> {
  const [a, b] = [machine.netns('flannel-a'), machine.netns('flannel-b')];
  await wire([
    { netns: a, address: '172.20.0.1/24' },
    { netns: b, address: '172.20.0.2/24' },
  ]);
  const endpoint = 'http://172.20.0.1:2379';
  const etcd = ['etcd', '--data-dir', join(machine.dir, 'etcd'), '--log-level', 'error'];
  const urls = ['--listen-client-urls', endpoint, '--advertise-client-urls', endpoint];
  machine.spawn([...etcd, ...urls, '--listen-peer-urls', 'http://172.20.0.1:2380'], {
    netns: a,
    log: 'flannel-etcd.log',
  });
  const conf = '{"Network":"10.244.0.0/16","Backend":{"Type":"udp"}}';
  await until(async () => {
    const put = { key: base64('/coreos.com/network/config'), value: base64(conf) };
    await machine.output(['curl', '-sf', `${endpoint}/v3/kv/put`, '-d', JSON.stringify(put)], a);
    return true;
  });
  const pods: { netns: string; address: string }[] = [];
  for (const [name, netns] of Object.entries({ a, b })) {
    const file = join(machine.dir, `flannel-${name}.env`);
    const words = [
      FLANNELD.path,
      `--etcd-endpoints=${endpoint}`,
      `--subnet-file=${file}`,
      '--iface=eth0',
      '--ip-masq',
    ];
    machine.spawn(words, { netns, log: `flanneld-${name}.log` });
    await until(() => existsSync(file));
    pods.push(await podOn(machine, name, netns, readFileSync(file, 'utf8')));
  }
  const [from, to] = pods;
  if (!from || !to) throw new Error('flannel has no two pods');
  await until(async () => {
    await machine.output(['ping', '-c1', '-W1', to.address], from.netns);
    return true;
  });
  return { from: from.netns, to: to.netns, address: parseIp(to.address) };
}

/** What flannel's plugin and the bridge plugin make. */
async function podOn(machine: Machine, name: string, node: string, env: string) {
  const [, gateway = '', length = ''] = /FLANNEL_SUBNET=(.*)\/(.*)/.exec(env) ?? [];
  const [, mtu = ''] = /FLANNEL_MTU=(.*)/.exec(env) ?? [];
  const address = gateway.replace(/\.1$/, '.2');
  const netns = machine.netns(`flannel-${name}-pod`);
  const ip = (where: string, command: string): void =>
    void execFileSync('nsenter', [`--net=${where}`, 'ip', ...command.split(' ')]);
  ip(node, 'link add cni0 type bridge');
  ip(node, `address add ${gateway}/${length} dev cni0`);
  ip(node, `link set cni0 up mtu ${mtu}`);
  ip(node, `link add pod0 mtu ${mtu} type veth peer name eth0 mtu ${mtu} netns ${netns}`);
  ip(node, 'link set pod0 master cni0 up');
  await machine.output(['sh', '-c', 'echo 1 >/proc/sys/net/ipv4/ip_forward'], node);
  ip(netns, 'link set lo up');
  ip(netns, `address add ${address}/${length} dev eth0`);
  ip(netns, 'link set eth0 up');
  ip(netns, `route add default via ${gateway}`);
  return { netns, address };
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}

/** Tries for half a minute; what throws is tried again. */
async function until(done: () => boolean | Promise<boolean>): Promise<void> {
  let cause: unknown;
  const ask = async () => {
    try {
      return (await done()) || undefined;
    } catch (error) {
      cause = error;
      return undefined;
    }
  };
  const isDone = await poll(ask, { every: 100, patience: 30_000 });
  if (!isDone) throw new Error(`timed out: ${done}`, { cause });
}
