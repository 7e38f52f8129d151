// A candidate in a process of its own: node candidate-main.ts SERVER CA TOKEN IDENTITY DURATION
// Prints a line when it begins to lead, every 20 ms while it leads, and when it ends. SIGTERM ends it.
import { pause } from '../../../src/async/pause.ts';
import { kubeconfigAccess } from '../../../src/kubernetes/access/kubeconfig-access.ts';
import { KubernetesClient } from '../../../src/kubernetes/api/client.ts';
import { elect } from '../../../src/kubernetes/election/election.ts';
import { SILENT } from '../../../src/log.ts';

const [server = '', ca = '', token = '', identity = '', duration = ''] = process.argv.slice(2);
const access = kubeconfigAccess({
  cluster: { server, ca: { file: ca } },
  user: { token: { text: token } },
  namespace: 'default',
});
const client = new KubernetesClient({ access, silence: 1_000 });
const stop = new AbortController();
process.on('SIGTERM', () => stop.abort());
const say = (what: string): void => void process.stdout.write(`${what} ${Date.now()}\n`);
const at = { namespace: 'default', name: 'test' };
await elect(
  { client, log: SILENT, at, identity, duration: Number(duration), signal: stop.signal },
  async (signal) => {
    say('begin');
    while (await pause(20, signal)) say('lead');
    say('end');
  },
);
client.close();
