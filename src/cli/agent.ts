import type { AgentOptions } from '../agent/options.ts';
import { runAgent } from '../agent/run.ts';
import { FlatnetError } from '../error.ts';
import { agentOptionsIn, NETWORK_FILE, readAgentConfig } from './shared/agent-config.ts';
import { newCommand } from './shared/commands.ts';
import { processLog, stopSignal } from './shared/daemon.ts';

type Flags = {
  readonly config?: string;
  readonly kubeSubnetMgr?: boolean;
  readonly kubeconfigFile?: string;
  readonly kubeAnnotationPrefix?: string;
  readonly netConfigPath: string;
  readonly cniBinDir?: string;
  readonly cniConfDir?: string;
  readonly birdHolder?: string;
  readonly allowExtension?: boolean;
  readonly healthzIp: string;
  readonly healthzPort: string;
};

export const command = newCommand(
  'Run this node’s agent until SIGTERM or SIGINT: claim a subnet, program the kernel, serve CNI. Stopping it changes nothing: pods keep communicating.',
  ['flatnet agent --config /etc/flatnet/agent.json', 'NODE_NAME=node1 flatnet agent --kube-subnet-mgr'],
)
  .option('--config <file>', 'configuration, JSON or YAML')
  .option(
    '--kube-subnet-mgr',
    'instead, as flannel: the Kubernetes API is the store, NODE_NAME this node’s name',
  )
  .option('--kubeconfig-file <file>', 'with that: where the API is; in a pod it is known')
  .option('--kube-annotation-prefix <prefix>', 'with that: how the names of annotations begin')
  .option('--net-config-path <file>', 'with that: the mounted net-conf.json', NETWORK_FILE)
  .option('--cni-bin-dir <folder>', 'with that: paths.cniBin')
  .option('--cni-conf-dir <folder>', 'with that: paths.cniConf')
  .option('--bird-holder <socket>', 'with that: paths.birdHolder')
  .option(
    '--allow-extension',
    'with that: run, as root, the commands that a network with the backend extension names',
  )
  .option('--healthz-ip <address>', 'with that: where /healthz, /readyz and /metrics are served', '127.0.0.1')
  .option('--healthz-port <port>', 'with that: their port; 0: none', '0')
  .action(async (flags: Flags) => {
    const options = await optionsOf(flags);
    await runAgent(options, processLog(options.logLevel), stopSignal());
  });

async function optionsOf(flags: Flags): Promise<AgentOptions> {
  const { config, kubeSubnetMgr, kubeconfigFile: kubeconfig, kubeAnnotationPrefix: annotationPrefix } = flags;
  if (config !== undefined && !kubeSubnetMgr) return readAgentConfig(config);
  const parts = {
    code: 'USAGE',
    object: '--config',
    fix: 'use either --config FILE or --kube-subnet-mgr',
  } as const;
  if (config !== undefined) throw new FlatnetError('conflicts with --kube-subnet-mgr', parts);
  if (!kubeSubnetMgr) throw new FlatnetError('is missing', parts);
  const node = process.env.NODE_NAME;
  if (!node) {
    const fix = 'set it to the name of this node’s Node object; in a pod, from spec.nodeName';
    throw new FlatnetError('is not set', { code: 'USAGE', object: 'NODE_NAME', fix });
  }
  const kubernetes = { kubeconfig, annotationPrefix, networkFile: flags.netConfigPath };
  const { allowExtension } = flags;
  const health = { ip: flags.healthzIp, port: Number(flags.healthzPort) };
  const paths = { cniBin: flags.cniBinDir, cniConf: flags.cniConfDir, birdHolder: flags.birdHolder };
  return agentOptionsIn('--kube-subnet-mgr', {
    node,
    store: { kubernetes },
    health,
    paths,
    allowExtension,
  });
}
