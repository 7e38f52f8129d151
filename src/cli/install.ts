import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { AGENT_SOCKET, DEFAULT_PATHS } from '../agent/options.ts';
import { CONF_LIST_FILE, renderConfList, writeConfList } from '../cni/protocol/conflist.ts';
import { installPlugins, writeAgentFile } from '../cni/shim/install.ts';
import { INSTALLATION } from '../installation.ts';
import { newCommand } from './shared/commands.ts';
import { print } from './shared/output.ts';

type Flags = {
  readonly cniBinDir: string;
  readonly cniConfDir: string;
  readonly runDir: string;
  readonly stateDir: string;
  readonly json?: boolean;
};

export const command = newCommand(
  'Install the CNI plugin, each file at once. The agent does the same once it is ready; before, it lets an upgraded plugin be there first. A network configuration of flatnet’s is brought up to date, but only the agent writes the first one: it makes the node ready.',
  ['flatnet install --cni-bin-dir /host/opt/cni/bin --cni-conf-dir /host/etc/cni/net.d'],
)
  .option('--cni-bin-dir <folder>', 'where the runtime looks for plugins', DEFAULT_PATHS.cniBin)
  .option('--cni-conf-dir <folder>', 'where it looks for network configurations', DEFAULT_PATHS.cniConf)
  .option('--run-dir <folder>', 'the agent’s paths.run', DEFAULT_PATHS.run)
  .option('--state-dir <folder>', 'the agent’s paths.state', DEFAULT_PATHS.state)
  .option('--json', 'machine-readable output')
  .action(({ cniBinDir, cniConfDir, runDir, stateDir, json }: Flags) => {
    const place = { socket: join(runDir, AGENT_SOCKET), stateDir };
    installPlugins(INSTALLATION.shim, cniBinDir);
    writeAgentFile(cniBinDir, place);
    const confList = join(cniConfDir, CONF_LIST_FILE);
    const isUpgrade = existsSync(confList);
    if (isUpgrade) writeConfList(cniConfDir, renderConfList(place));
    const installed = [cniBinDir, ...(isUpgrade ? [confList] : [])];
    print({ installed }, json, () => installed.map((path) => `installed ${path}`).join('\n'));
  });
