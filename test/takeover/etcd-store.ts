import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { eventually } from '../store/servers.ts';
import type { FlannelStore, StoreSite } from './flannel-store.ts';

const ETCD = 'http://10.99.0.254:2379';

/** An etcd in the namespace where the outside is. */
export async function startEtcdStore({ dir, fabric, netConf }: StoreSite): Promise<FlannelStore> {
  const flags = [
    `--data-dir=${join(dir, 'etcd')}`,
    '--listen-client-urls=http://10.99.0.254:2379,http://127.0.0.1:2379',
    `--advertise-client-urls=${ETCD}`,
    '--listen-peer-urls=http://127.0.0.1:2380',
  ];
  const etcd: ChildProcess = spawn('ip', ['netns', 'exec', fabric, 'etcd', ...flags], { stdio: 'ignore' });
  const end = async (): Promise<void> => void etcd.kill('SIGKILL');
  try {
    await eventually(() => put(fabric, '/coreos.com/network/config', JSON.stringify(netConf)), 30_000);
  } catch (error) {
    await end();
    throw error;
  }
  return { flanneld: [`--etcd-endpoints=${ETCD}`], agent: { endpoints: [ETCD] }, join: async () => {}, end };
}

/** Whether etcd has taken the value. */
function put(fabric: string, key: string, value: string): boolean {
  const body = JSON.stringify({ key: btoa(key), value: btoa(value) });
  const code = `fetch('${ETCD}/v3/kv/put', { method: 'POST', body: ${JSON.stringify(body)} })`;
  const argv = ['netns', 'exec', fabric, process.execPath, '-e', code];
  return spawnSync('ip', argv, { stdio: 'ignore' }).status === 0;
}
